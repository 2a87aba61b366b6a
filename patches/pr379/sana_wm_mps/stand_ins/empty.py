"""A package of which only submodules are used."""
