"""One Valkey server for the processes of an application."""

from .connection import EmbeddedConnection
from .directory import prepare
from .server import end, runs_here, server_binary, start_or_join

__all__ = ["EmbeddedConnection", "end", "prepare", "runs_here", "server_binary", "start_or_join"]
