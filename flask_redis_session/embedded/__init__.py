"""One Valkey server for the processes of an application."""
