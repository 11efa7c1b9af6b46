"""The adapter: references, reference attention, its injection by hooks, and the model that owns them."""
