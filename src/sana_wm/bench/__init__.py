"""Benchmarks on full-size random weights: ours and stock in one process."""
