"""How a minibatch becomes gradients: losses, and learners with and without memory."""
