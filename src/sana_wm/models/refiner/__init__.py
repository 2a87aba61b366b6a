"""The refiner engine."""
