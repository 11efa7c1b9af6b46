"""Built-in decoupling policies, a folder each."""
