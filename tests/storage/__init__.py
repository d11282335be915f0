"""Tests of what Redis holds: the session's hash and the user's index."""
