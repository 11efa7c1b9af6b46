"""Built-in executors, a folder each."""
