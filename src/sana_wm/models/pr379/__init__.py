"""The second backend: Stage 1 and the single-shot refiner by NVIDIA's own classes, from a patched checkout."""
