"""The processes of a server: one that serves, or several under a parent."""
