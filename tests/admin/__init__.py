"""Tests of the calls and commands for administrators."""
