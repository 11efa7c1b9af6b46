"""The report of an ablation: one HTML page made from the files that a directory holds."""
