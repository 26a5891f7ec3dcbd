"""Key tables: one file for each upstream project whose checkpoints we read."""
