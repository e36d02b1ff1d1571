"""Commands that look after the data: checks, garbage, maintenance, a new catalogue."""
