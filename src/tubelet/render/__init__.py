"""What people see: tables, an overlay film, an HTML page, CSV and JSON. Never imports torch."""
