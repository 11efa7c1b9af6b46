"""Training an adapter on a frozen base by flow matching."""
