"""Other libraries for Flask, on these sessions and unchanged."""
