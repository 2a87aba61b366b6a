"""What upstream imports from packages that are made for CUDA, or that are not installed; see `guards`."""
