"""Intervals, probes and similarities."""
