"""How the models are made: stages, one resumable loop, and one training a file."""
