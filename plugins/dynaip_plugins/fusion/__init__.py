"""Built-in fusion strategies, a folder each."""
