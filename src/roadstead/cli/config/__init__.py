"""Commands for settings."""
