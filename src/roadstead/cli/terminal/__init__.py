"""Code that all commands share: options, the registry they work on, output, progress, failures."""
