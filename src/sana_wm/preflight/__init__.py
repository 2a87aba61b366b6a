"""Whether a run may start, and what would keep it from it."""
