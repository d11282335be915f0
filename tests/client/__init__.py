"""Tests of the way to Redis: URL, fast client, cluster, Sentinel, TLS and ACL."""
