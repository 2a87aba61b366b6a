"""The Tab key through the shells' own protocol: what each value may be, without loading anything heavy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.cli.tree import options

from sana_wm.camera.moves import MOVES
from sana_wm.drafting.presets import PRESETS
from sana_wm.manifest.templates import template_names
from sana_wm.names import STAGES

#: Options whose values are words of ours, wherever they stand.
COMPLETED = ("--preset", "--move", "--dialect", "--as", "--from", "--to", "--template", "--stages")
#: pydantic itself is Typer's to load.
HEAVY = {"torch", "diffusers", "transformers", "numpy", "sana_wm.manifest.model"}


def offered(line: str) -> list[str]:
    """What fish is told for a line whose end is to be completed."""
    question = f"import sys, sana_wm.cli\ntry: sana_wm.cli.main()\nfinally: assert not {HEAVY} & set(sys.modules)"
    shell = {
        "_SANA_WM_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": f"sana-wm {line}",
    }
    done = subprocess.run(
        [sys.executable, "-c", question], capture_output=True, text=True, env=os.environ | shell, check=False
    )
    assert done.returncode == 0, done.stderr
    return [answer.partition("\t")[0] for answer in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("init-manifest --preset ", [*PRESETS]),
        ("init-manifest --preset st", ["standard"]),
        ("init-manifest --template ", template_names()),
        ("init-manifest --variant ", ["bidirectional", "streaming"]),
        ("extend runs/street --move ", [*MOVES]),
        ("camera preview --move push-in:2s,pan-", ["push-in:2s,pan-left", "push-in:2s,pan-right"]),
        ("camera explain --dialect s", ["smoothed"]),
        ("camera convert --as ", ["pr379", "smoothed"]),
        ("resume runs/street --from ", [*STAGES]),
        ("run-pipeline my.json --to p", ["preview"]),
        ("weights list --stages stage1,", [f"stage1,{stage}" for stage in STAGES if stage != "stage1"]),
        ("camera mov", ["moves"]),
        ("validate-man", ["validate-manifest"]),
    ],
)
def test_tab_offers_what_may_stand_there(line: str, values: list[str]) -> None:
    assert offered(line) == values


def test_every_option_of_our_words_is_completed() -> None:
    found = {name for _, one in options() for name in one.opts if name in COMPLETED}
    silent = [
        (path, name)
        for path, one in options()
        for name in one.opts
        if name in COMPLETED and one._custom_shell_complete is None
    ]
    assert silent == []
    assert found == set(COMPLETED)
