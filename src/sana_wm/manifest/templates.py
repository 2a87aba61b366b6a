"""Manifests to start from, as shipped. They name the weights and inputs by environment variables."""

from __future__ import annotations

import json
from pathlib import Path

from sana_wm.durable import write_durably
from sana_wm.errors import UsageError, did_you_mean
from sana_wm.manifest.loading import VARIABLE
from sana_wm.shipped import TEMPLATES
from sana_wm.variants import fill_taught


def template_names() -> list[str]:
    """The names of the shipped manifests."""
    return sorted(path.stem for path in TEMPLATES.glob("*.json"))


def template_text(name: str) -> str:
    """A shipped manifest as text.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in template_names():
        raise UsageError(
            "no template of this name",
            got=repr(name),
            expected=", ".join(template_names()),
            next_step=did_you_mean(name, template_names())
            or "`sana-wm init-manifest --list-templates` says what each is.",
        )
    return (TEMPLATES / f"{name}.json").read_text(encoding="utf-8")


def describe_template(name: str) -> str:
    """What a template makes, in a line: its length, steps and camera."""
    data = fill_taught(json.loads(template_text(name)))
    video, camera = data["video"], data["camera"]
    path = f"keys {camera['action']}" if camera.get("action") else "poses from a file"
    refined = "refined" if data.get("refiner", {}).get("enabled", True) else "not refined"
    return f"{video['num_frames']} frames, {data['stage1']['num_inference_steps']} steps, {refined}, {path}"


def template_variables(name: str) -> list[str]:
    """The environment variables that a template names, in its order."""
    return list(dict.fromkeys(VARIABLE.findall(template_text(name))))


def write_template(name: str, out: Path) -> None:
    """Write a shipped manifest to a file, whole or not at all."""
    write_durably(out, template_text(name))
