"""Looking for damage at once and slowly, and fetching again what was damaged."""
