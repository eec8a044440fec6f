"""Annotations as the trainer uses them: labels to learn from, and regions to measure structure in."""
