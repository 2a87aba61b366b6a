"""Text that a user made: read once, in one way, or refused by what it is."""
