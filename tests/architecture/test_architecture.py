"""The rules of docs/architecture.md that a machine can read off the sources."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.architecture.measure import engine_comparisons, import_rings, outside_type_checking, stage_comparisons

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "sana_wm"
MODULES = sorted(SOURCES.rglob("*.py"))

#: What stands on the ground: every package may ask it.
GROUND = {
    "names",
    "sizes",
    "machine",
    "shipped",
    "pipeline",
    "backends",
    "variants",
    "plain_files",
    "printing",
    "figures",
}
#: What each package may import of its siblings besides; downwards only.
ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli"},
    **{name: {"errors"} for name in GROUND},
    "errors": set(),
    "held": {"errors"},
    "durable": {"errors", "held"},
    "records": {"errors", "durable"},
    "modules": {"errors"},
    "streams": set(),
    "tether": {"streams"},
    "system": set(),
    "text": {"errors"},
    "manifest": {"errors", "durable", "text"},
    "camera": {"errors", "manifest", "text"},
    "video": {"errors", "held", "durable"},
    "weights": {"errors", "durable", "records", "manifest"},
    "runs": {"errors", "held", "durable", "records", "system", "manifest", "camera", "weights"},
    "progress": {"errors", "durable", "records", "manifest", "runs"},
    "planning": {"errors", "durable", "records", "modules", "manifest", "weights", "runs", "progress"},
    "preflight": {
        *("errors", "held", "durable", "records", "modules", "system", "text", "manifest", "camera", "video"),
        *("weights", "runs", "planning"),
    },
    "drafting": {
        *("errors", "durable", "modules", "manifest", "camera", "video", "weights", "runs", "planning", "preflight"),
    },
    "catalogue": {"errors", "durable", "manifest", "runs", "progress", "drafting", "queue"},
    "launcher": {
        *("errors", "held", "durable", "records", "modules", "system", "manifest", "video", "weights", "runs"),
        *("progress", "planning", "preflight", "tether"),
    },
    "queue": {
        *("errors", "durable", "records", "manifest", "runs", "progress", "preflight", "launcher"),
    },
    "runtime": {"errors", "durable", "records", "manifest", "runs", "planning"},
    "replacements": {"errors", "manifest"},
    "models": {"errors", "manifest", "replacements", "planning", "runtime", "weights"},
    "stages": {
        *("errors", "held", "durable", "records", "manifest", "camera", "video", "weights", "runs", "planning"),
        *("runtime", "replacements", "models"),
    },
    "report": {"errors", "durable", "manifest", "camera", "video", "progress", "runs"},
    "diagnostics": {"errors", "camera", "manifest", "runtime", "weights", "models", "replacements", "planning"},
    "bench": {
        *("errors", "durable", "modules", "manifest", "weights", "runs", "planning", "drafting", "runtime", "models"),
        *("launcher", "report"),
    },
    "studio": {
        *("errors", "durable", "manifest", "camera", "video", "weights", "runs", "progress", "catalogue", "preflight"),
        *("drafting", "launcher", "queue", "report"),
    },
    "cli": {
        *("errors", "held", "durable", "modules", "system", "manifest", "camera", "video", "weights", "runs"),
        *("progress", "catalogue", "planning", "preflight", "drafting", "launcher", "queue", "report"),
        *("replacements", "streams", "studio"),
    },
}
#: Packages that must work where torch is not even installed.
WITHOUT_TORCH = (
    *GROUND,
    *("errors", "held", "durable", "records", "streams", "modules", "tether", "system", "text", "manifest"),
    *("camera", "video", "runs", "progress", "catalogue", "planning", "preflight", "drafting", "launcher", "queue"),
    *("report", "studio", "cli"),
)
TORCH = {"torch", "diffusers", "transformers"}


def package_of(path: Path) -> str:
    relative = path.relative_to(SOURCES)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> set[str]:
    """What a module imports; an import for annotations alone, under TYPE_CHECKING, is none."""
    names: set[str] = set()
    for node in outside_type_checking(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_imports_point_one_way(path: Path) -> None:
    package = package_of(path)
    if package == "__init__":
        return
    siblings = {name.split(".")[1] for name in imports_of(path) if name.startswith("sana_wm.")} - {"__version__"}
    assert siblings <= ALLOWED[package] | {package} | GROUND


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_each_power_has_one_place(path: Path) -> None:
    text, name = path.read_text(), path.relative_to(SOURCES).as_posix()
    imports = imports_of(path)
    if package_of(path) in WITHOUT_TORCH:
        assert not {found.split(".")[0] for found in imports} & TORCH
    if "subprocess" in imports:
        places = (
            "launcher/process",
            "launcher/job_process",
            "launcher/detached",
            "launcher/power",
            "modules",
            "system",
            "video/",
            "replacements/checkout",
        )
        assert name.startswith(places)
    if re.search(r"\bos\.(environ|getenv)\b", text):
        assert name.startswith("cli/") or name == "runtime/device.py"
    if re.search(r"\bsys\.exit\(|typer\.Exit", text):
        assert name.startswith("cli/") or name.endswith("__main__.py")
    assert not re.search(r"^\s*print\(", text, re.MULTILINE)
    assert "import click" not in text


#: Writers of what no other process trusts before it is whole: what developers and the tiny checkpoint write outside of
#: a run.
OTHER_WRITERS = (
    *("durable.py", "manifest/schema.py"),
    *("weights/", "diagnostics/", "bench/"),
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_one_module_writes_artefacts(path: Path) -> None:
    """Whatever calls a writer outside of a `durable_file` block: what a kill in between would leave unfinished."""
    name = path.relative_to(SOURCES).as_posix()
    text = path.read_text()
    if not name.startswith(OTHER_WRITERS):
        assert not re.search(r"\.write_(text|bytes)\(|\bopen\([^)]*[\"'][wx]b?[\"']", text)
    if re.search(r"\.save\(part|save_file\(", text) and not name.startswith(OTHER_WRITERS):
        assert "durable_file" in text


def test_importing_the_command_line_loads_neither_torch_nor_diffusers() -> None:
    question = (
        "import sys, sana_wm.cli; print(sorted({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tree_in_the_docs_is_the_tree_on_disk() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text.split("```text\n", 1)[1].split("```", 1)[0]
    documented = set(re.findall(r"^  (\w[\w.]*/?) ", tree, re.MULTILINE))
    on_disk = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in SOURCES.iterdir()
        if path.name not in ("__init__.py", "__pycache__")
    }
    assert documented == on_disk


def test_every_dependency_is_explained() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.findall(r'^    "([a-z_]+)[>=]', project.split("dependencies = [", 1)[1].split("]", 1)[0], re.MULTILINE)
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert listed
    assert [name for name in dict.fromkeys(listed) if f"`{name}`" not in text] == []


#: The modules whose matter a stage's and an engine's name are; all others ask their records.
TABLES_OF_STAGES, TABLES_OF_ENGINES = ("pipeline.py", "names.py"), ("backends.py",)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_what_a_stage_and_an_engine_are_stands_in_one_place(path: Path) -> None:
    name = path.relative_to(SOURCES).as_posix()
    if name not in TABLES_OF_STAGES:
        assert stage_comparisons(path) == []
    if name not in TABLES_OF_ENGINES and not name.startswith("bench/"):  # a benchmark is of one variant, by name
        assert engine_comparisons(path) == []


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert import_rings() == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_source_file_can_be_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
