"""Jobs that wait for their turn: one runner works them, one after another, each in processes of its own."""
