"""What each step of training sees: mixtures, samplers, and the stream of minibatches."""
