"""Many films: in several processes, and on several machines."""
