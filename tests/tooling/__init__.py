"""Tests of the project itself: public names, types, demo, and the tools of the tests."""
