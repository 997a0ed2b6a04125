"""The limits on the way to a number of slots."""
