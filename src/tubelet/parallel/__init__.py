"""Several processes that train or test together."""
