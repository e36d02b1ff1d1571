"""Commands that look at what a registry holds and change it."""
