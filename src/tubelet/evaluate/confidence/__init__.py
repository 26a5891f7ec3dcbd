"""Whether scores are probabilities, and what it is worth to stay silent."""
