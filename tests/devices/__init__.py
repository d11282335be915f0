"""Tests of the page that lists the devices of a user."""
