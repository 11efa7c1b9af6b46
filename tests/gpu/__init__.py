"""What only an accelerator can show. ``python -m tests.gpu`` runs it all and prints its table last."""
