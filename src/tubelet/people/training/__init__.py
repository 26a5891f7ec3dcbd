"""Training of our own person detector."""
