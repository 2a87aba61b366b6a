"""Everything that knows a network."""
