"""The training loop, and what it steps, reports and saves with."""
