"""Manifests to start from. They need the environment variables that README.md names."""

from __future__ import annotations

from importlib.resources import files


def template_names() -> list[str]:
    """The names of the shipped manifests."""
    names = (item.name for item in files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def template_text(name: str) -> str:
    """A shipped manifest as text."""
    return (files(__name__) / f"{name}.json").read_text(encoding="utf-8")
