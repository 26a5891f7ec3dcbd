"""Key tables: one file for each house whose checkpoints we read."""
