"""Tests of what happens if Redis or the network fails."""
