"""Built-in benchmarks, a folder each."""
