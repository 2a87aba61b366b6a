"""What stages leave on disk: the run directory, receipts, the camera path."""
