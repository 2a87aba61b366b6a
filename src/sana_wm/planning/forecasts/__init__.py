"""The phases of each stage, planned by the rules of the engine that runs them; one module per stage and engine."""
