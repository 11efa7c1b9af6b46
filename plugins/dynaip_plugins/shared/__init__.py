"""What components of several kinds share. No kind imports another: what two of them need lies here, a file an idea."""
