"""What is wanted: the typed fleet.yml."""
