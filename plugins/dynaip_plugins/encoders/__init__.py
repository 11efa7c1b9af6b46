"""Built-in encoders, a folder each."""
