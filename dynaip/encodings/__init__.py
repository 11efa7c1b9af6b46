"""Encodings of pairs on disk: made once, checked when they are read, shared by runs, processes and machines."""
