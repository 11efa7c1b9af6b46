"""The command line: one file a command, found and wired by ``app.py``."""
