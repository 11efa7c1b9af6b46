"""Built-in backbones, a folder each."""
