"""What users see: tables, an overlay video, an HTML page, CSV and JSON. Never imports torch."""
