"""The parent: which stages run and why; start, watch and stop them; the memory governor."""
