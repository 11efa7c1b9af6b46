"""Generating a benchmark's cases and scoring them."""
