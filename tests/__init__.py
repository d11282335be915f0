"""The tests, by layer: see README.md beside this file."""
