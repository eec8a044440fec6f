"""A running service, seen from outside: what `simtrue jobs` asks it and how its answers are checked."""
