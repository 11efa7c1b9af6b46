"""Built-in pair sources, a folder each."""
