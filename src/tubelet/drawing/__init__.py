"""Pixels of boxes, labels and letters, without a graphics library; below the records, so that they
can draw themselves."""
