"""The JSON manifest, parsed once into frozen, strict objects."""
