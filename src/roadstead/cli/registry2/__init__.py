"""Commands for folders of registry:2: the way in and the way out."""
