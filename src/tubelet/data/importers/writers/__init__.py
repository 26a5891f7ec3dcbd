"""Annotations, written as labelling tools read them."""
