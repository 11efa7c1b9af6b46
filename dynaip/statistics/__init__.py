"""Intervals, several differences at once, power, equivalence, agreement of raters, preferences. Needs no torch."""
