"""Ablations: arms planned from a config, trained and scored, and what their differences say."""
