"""Reading files that nobody vouches for: bounded, never executed, never outside their folder."""
