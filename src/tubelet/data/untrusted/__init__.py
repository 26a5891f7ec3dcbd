"""Reading untrusted files: bounded, never executed, never outside their folder."""
