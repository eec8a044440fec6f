"""How good a refiner is: an automatic judge of realism, and what happened to the structure."""
