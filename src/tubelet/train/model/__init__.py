"""The models of a stage: tied, initialised from others, frozen, normalised, recomputed, sharded."""
