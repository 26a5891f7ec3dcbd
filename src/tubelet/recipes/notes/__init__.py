"""For each paper's recipes, where each setting is printed, or why it is assumed."""
