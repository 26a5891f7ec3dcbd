"""Models prepared for other engines than torch: written to files, read back, run."""
