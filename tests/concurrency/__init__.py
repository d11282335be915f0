"""Tests of what happens at once, and the checker that judges it: see README.md."""
