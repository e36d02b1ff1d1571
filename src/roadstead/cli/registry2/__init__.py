"""Commands that take over a folder of registry:2, and give it back."""
