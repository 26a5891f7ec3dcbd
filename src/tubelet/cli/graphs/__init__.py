"""`tubelet export` and `tubelet engines`: models for other programs and in other engines."""
