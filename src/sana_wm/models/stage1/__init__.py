"""The Stage 1 engine."""
