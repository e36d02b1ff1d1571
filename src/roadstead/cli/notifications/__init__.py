"""Commands for what endpoints are told."""
