"""docs/which-mac.md and README.md's table say what `sana-wm plan --for` says now."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from sana_wm.figures import format_range

ROOT = Path(__file__).resolve().parents[1]


def load_writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_which_mac", ROOT / "docs" / "make_which_mac.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WRITER = load_writer()
PAGE = WRITER.PAGE.read_text(encoding="utf-8")
AGAIN = "it is older than the plan: make which-mac"


@pytest.fixture(scope="module")
def plans() -> object:
    return WRITER.plan_all()


def test_the_page_is_what_the_plan_says_now(plans: object) -> None:
    assert WRITER.write_page(plans) == PAGE, AGAIN


def test_the_table_of_the_readme_is_what_the_plan_says_now(plans: object) -> None:
    readme = WRITER.README.read_text(encoding="utf-8")
    assert len(WRITER.BLOCK.findall(readme)) == 1, "README.md has no place for it"
    assert WRITER.put_into(readme, WRITER.write_short_table(plans)) == readme, AGAIN


@pytest.mark.parametrize(
    ("mac", "row"),
    [("M2 Pro 32 GB", "M2 Pro 16-core"), ("M1 8-core 16 GB", "M1 8-core"), ("M5 Max 64 GB", "M5 Max 40-core")],
)
def test_its_cells_are_the_command_s_answers(mac: str, row: str) -> None:
    """Read off the page as a reader would, and asked as a user would."""
    command = [sys.executable, "-m", "sana_wm", "plan", "--for", mac, "--json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["modes"]
    memory_gb = mac.split()[-2]
    compared = 0
    for mode in said:
        length = round(mode["num_frames"] / 16)
        words = "with" if mode["refine"] else "without"
        section = PAGE.split(f"### {length} s of video, {words} the refiner\n", 1)[1].split("\n\n", 1)[0]
        heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines())
        [cells] = [one for one in rows if re.match(rf"{row} .*\b{memory_gb}\b", one[0])]
        expected = f"~{format_range(*mode['range_s'])}" if mode["fits"] else "–"
        assert cells[heads.index(mode["mode"])].removesuffix(" †") == expected, AGAIN
        compared += 1
    assert compared == 18


def test_no_number_on_it_is_without_a_basis() -> None:
    basis = PAGE.split("## Where the numbers come from\n", 1)[1]
    figures = json.loads((ROOT / "configs" / "macs.json").read_text())
    assert [names for names in figures["sources"] if f"`{names.split(', ')[0]}`" not in basis] == []
    assert [chip for chip in figures["left_out"] if chip not in basis] == []
