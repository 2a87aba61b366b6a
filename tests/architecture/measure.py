"""Measures the structure of the sources and the road of a manifest: `make structure`.

Static figures are read off the syntax trees, the others counted while a tiny manifest runs: a profiler in every process
of the run (`tracing/sitecustomize.py`) notes who parses, hashes and checks, and which files see a manifest.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "sana_wm"
LONG_FUNCTION_LINES = 60
STAGE_NAMES = {"stage1", "refiner", "vae_decode", "preview"}
#: What a comparison with an engine's name has on its other side.
ENGINE_WORDS = ("backend", "variant")
#: The modules whose matter a stage and an engine are.
STAGE_TABLES = ("pipeline.py", "names.py")
ENGINE_TABLES = ("backends.py",)


def modules() -> dict[str, Path]:
    """Every module's path, by dotted name."""
    found: dict[str, Path] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        parts = ("sana_wm", *path.relative_to(SOURCES).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(tree: ast.Module, known: set[str]) -> set[str]:
    """Modules of ours that a module imports, wherever in it, but for annotations."""
    found: set[str] = set()
    for node in outside_type_checking(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (members & known) or {node.module}
    return found & known


def outside_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, but for what is imported for annotations alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from outside_type_checking(child)


def import_rings() -> list[list[str]]:
    """Groups of modules that import each other, directly or not (Tarjan)."""
    known = modules()
    graph = {name: imports_of(ast.parse(path.read_text()), set(known)) - {name} for name, path in known.items()}
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    rings: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            ring = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(ring) > 1:
                rings.append(sorted(ring))

    for name in graph:
        if name not in order:
            visit(name)
    return rings


def stage_comparisons(path: Path) -> list[int]:
    """Lines on which a stage's name is compared with, or keys a table."""
    return [node.lineno for node in ast.walk(ast.parse(path.read_text())) if _names_a_stage(node)]


def _names_a_stage(node: ast.AST) -> bool:
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        values = [item for one in operands for item in (one.elts if isinstance(one, ast.Tuple | ast.Set) else [one])]
        return any(isinstance(one, ast.Constant) and one.value in STAGE_NAMES for one in values)
    if isinstance(node, ast.Dict):
        return bool(node.keys) and all(isinstance(key, ast.Constant) and key.value in STAGE_NAMES for key in node.keys)
    return False


def engine_comparisons(path: Path) -> list[int]:
    """Lines on which an engine's or a variant's name is compared with."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in (node.left, *node.comparators))
        and any(word in ast.unparse(node).lower() for word in ENGINE_WORDS)
    ]


def measure_sources() -> dict[str, Any]:
    """What the syntax trees say."""
    files = {path.relative_to(SOURCES).as_posix(): path for path in sorted(SOURCES.rglob("*.py"))}
    lines = {name: len(path.read_text().splitlines()) for name, path in files.items()}
    packages = Counter[str]()
    for name, count in lines.items():
        packages[name.split("/")[0] if "/" in name else name] += count
    functions = [
        (f"{name}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for name, path in files.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    counts = sorted(lines.values())
    return {
        "files": len(files),
        "lines": sum(counts),
        "lines_per_file": {"median": counts[len(counts) // 2], "p90": counts[len(counts) * 9 // 10], "max": counts[-1]},
        "files_over_300_lines": {name: count for name, count in lines.items() if count > 300},
        "lines_per_package": dict(sorted(packages.items())),
        "functions": len(functions),
        "functions_over_60_lines": {name: size for name, size in functions if size > LONG_FUNCTION_LINES},
        "import_rings": import_rings(),
        "stage_names_outside_their_table": {
            name: found
            for name, path in files.items()
            if name not in STAGE_TABLES and (found := stage_comparisons(path))
        },
        "engine_names_outside_their_table": {
            name: found
            for name, path in files.items()
            if name not in ENGINE_TABLES and (found := engine_comparisons(path))
        },
    }


def measure_run(folder: Path) -> dict[str, Any]:
    """What a fresh run of a tiny manifest does: parses, checks, hashes, and files that a manifest passes through."""
    from tests.conftest import draw_picture, tiny_manifest

    tiny = [sys.executable, "-m", "sana_wm.weights", "tiny", "--out", str(folder / "weights")]
    model = json.loads(subprocess.run(tiny, check=True, capture_output=True, text=True).stdout)
    manifest_path = folder / "manifest.json"
    manifest_path.write_text(json.dumps(tiny_manifest(draw_picture(folder / "picture.png"), model)))
    notes = folder / "notes"
    notes.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent / "tracing"),
        "STRUCTURE_NOTES": str(notes),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "sana_wm", "run-pipeline", str(manifest_path)]
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=folder)
    seen = [json.loads(path.read_text()) for path in notes.glob("*.json")]
    parent = next(one for one in seen if "run-pipeline" in one["arguments"])
    stages = [one for one in seen if "sana_wm.stages" in one["module"]]
    hashed = Counter(
        (one["arguments"][0], Path(name).name)
        for one in stages
        for name in one["hashed"]
        if Path(name).name in ("stage1.safetensors", "refined.safetensors")
    )
    return {
        "manifest_parses_in_the_parent": parent["calls"].get("parse_manifest", 0),
        "header_checks_in_the_parent": parent["calls"].get("check_layout", 0),
        "hashes_of_latents_by_stage": {f"{stage} {name}": count for (stage, name), count in sorted(hashed.items())},
        "files_that_a_manifest_passes_through": sorted(parent["manifest_files"]),
    }


def main() -> None:
    """Print the figures as JSON, and keep them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures into this file, too")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        figures = {"sources": measure_sources(), "fresh_run": measure_run(Path(folder))}
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
