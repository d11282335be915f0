"""What Redis holds: session hashes, and the index of each user."""
