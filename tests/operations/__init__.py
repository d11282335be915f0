"""Tests of what those use who test an application, and those who run it."""
