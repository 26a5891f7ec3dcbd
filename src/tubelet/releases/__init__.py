"""Released weights: the table of their names, downloads, the Hugging Face hub, model folders."""
