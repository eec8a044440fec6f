"""How far annotated structures moved, and what follows from it."""
