"""The house's figures, and sliders for notebooks."""
