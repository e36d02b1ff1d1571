"""The command that serves, and the checks before the server listens."""
