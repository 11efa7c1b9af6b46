"""Attention, routing and features of a run, recorded exactly within a byte budget."""
