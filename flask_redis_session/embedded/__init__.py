"""One Valkey server for the processes of an application."""

from .server import EmbeddedConnection, prepare, runs_here, server_binary, start_or_join

__all__ = ["EmbeddedConnection", "prepare", "runs_here", "server_binary", "start_or_join"]
