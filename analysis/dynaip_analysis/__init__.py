"""Looks through the windows that the path already has: attention, routing, granularity, decoupling."""
