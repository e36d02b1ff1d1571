"""Commands for the database of the catalogue."""
