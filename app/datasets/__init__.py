"""Data sets: which of their files are images to refine, and what their annotations say."""
