"""The streaming student's Stage 1: a video made chunk by chunk, in memory that does not grow with its length."""
