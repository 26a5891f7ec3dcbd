"""Testing a model on a dataset: views, prediction, scoring, and ensembles of predictions."""
