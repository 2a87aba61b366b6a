"""How a manifest is written: from a picture, from a run, for the demo."""
