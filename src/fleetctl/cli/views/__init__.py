"""How the answers of each group of commands look."""
