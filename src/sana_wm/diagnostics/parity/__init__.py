"""Both backends on one tiny checkpoint: our engines and NVIDIA's own classes, stage by stage."""
