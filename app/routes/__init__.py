"""HTTP routes, each one thin."""
