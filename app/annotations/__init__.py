"""Geometry read out of annotations; annotations are never written."""
