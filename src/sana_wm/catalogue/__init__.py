"""Which runs are there: each in a line, what was made from what, removing and pruning them. Loads no torch."""
