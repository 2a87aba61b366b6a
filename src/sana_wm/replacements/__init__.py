"""The catalogue of what is replaced in library models, and why."""
