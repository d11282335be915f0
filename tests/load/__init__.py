"""Tests under load for minutes."""
