"""What every command shares: options, the registry it works on, output, progress, failures."""
