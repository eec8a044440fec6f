"""Small simulators: images with exact annotations, drawn by code, from a seed."""
