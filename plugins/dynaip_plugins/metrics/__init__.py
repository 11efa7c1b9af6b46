"""Built-in metrics, a folder each."""
