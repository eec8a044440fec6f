"""Refinement of images: decoding, engine, tiles, blending, model repository."""
