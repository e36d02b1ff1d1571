"""Commands for secrets that servers share."""
