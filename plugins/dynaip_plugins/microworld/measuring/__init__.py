"""What the models reach: figures on scenes with identities that no training saw, and the card that tells them."""
