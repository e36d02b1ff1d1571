"""Commands for files of passwords."""
