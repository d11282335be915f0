"""Tests of what a request does with its session, and of the settings."""
