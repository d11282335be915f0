"""What one request does with its session."""
