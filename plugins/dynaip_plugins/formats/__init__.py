"""Other people's files of adapters, a folder each."""
