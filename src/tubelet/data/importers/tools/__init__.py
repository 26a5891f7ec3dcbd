"""Exports of labelling tools and trackers, and the form that all of them are read into."""
