"""Commands for the notifications that endpoints are sent."""
