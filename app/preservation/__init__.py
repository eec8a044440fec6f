"""What follows from how far annotated structures moved."""
