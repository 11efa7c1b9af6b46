"""Microworld: a procedural, fully labelled world with models small enough to ship in the package."""
