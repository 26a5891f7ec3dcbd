"""Training of action models: `run` builds everything, top to bottom; `loop` takes the steps."""
