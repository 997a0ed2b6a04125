"""Pure functions from facts to values. No clock, no network, no files."""
