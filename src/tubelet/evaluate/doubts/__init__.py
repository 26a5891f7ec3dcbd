"""Reasons to doubt a figure, and the join of two tables' frames."""
