"""Starting the server: what is settled before it listens."""
