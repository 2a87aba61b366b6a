"""What is wrong with the weights on disk, all at once and within seconds: headers are read, and samples of numbers."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from sana_wm.errors import Problem, WeightsError
from sana_wm.names import Stage
from sana_wm.weights.component_config import read_config
from sana_wm.weights.headers import Header, read_header
from sana_wm.weights.layout import Component, WeightLayout, read_weight_map
from sana_wm.weights.lookalikes import find_unfinished, recognise
from sana_wm.weights.misplaced import field_of, find_misplaced
from sana_wm.weights.reading import REPAIR, is_missing, unreadable
from sana_wm.weights.samples import sample_numbers
from sana_wm.weights.student import find_strangers
from sana_wm.weights.tables import TABLES, Shape, expected_tensors, network_sizes
from sana_wm.weights.tokenizer_files import check_tokenizer

LOADABLE_DTYPES = ("F32", "BF16", "F16")
# One network's output width, what is added to it, and the input width of the network behind it.
NEIGHBOURS = (
    ("stage1_text_encoder", "hidden_size", 0, "transformer", "caption_channels"),
    ("vae", "latent_channels", 0, "transformer", "in_channels"),
    ("refiner_text_encoder", "hidden_size", 0, "connectors", "caption_channels"),
    ("refiner_text_encoder", "num_hidden_layers", 1, "connectors", "text_proj_in_factor"),
    ("connectors", "connector_width", 0, "refiner_transformer", "caption_channels"),
)
DOWNLOAD = "Its download was not finished: go on with sana-wm weights download, or whatever began it."
TOKENIZERS = ("stage1_tokenizer", "refiner_tokenizer")
MAX_TENSORS_NAMED = 8  # a wrong model has hundreds of wrong tensors; the first few say which model it is


def check_layout(layout: WeightLayout, stages: Sequence[Stage]) -> list[Problem]:
    """Everything that would stop the given stages from loading their weights.

    Checked are folders, configs, tokenizers and shards, the index against the shards, that every file is as long as
    its header says, for every tensor that a loader reads its name, shape and dtype and a sample of its numbers, and
    when all that is well, whether the networks are of one model: another Gemma is whole and still does not fit. Weights
    that lie elsewhere or are something else are named as that, in one line. Where a config asks for
    another structure than the released one, no table knows the names: then only the files are checked here, and the
    strict loader has the last word.

    Args:
        layout: From `resolve_layout`.
        stages: The stages that will run; a component that two of them read is checked once.

    Returns:
        The problems, field naming the file; empty when all is well.
    """
    components = {component.name: component for stage in stages for component in layout.of_stage(stage)}
    misplaced = find_misplaced(layout, components.values())
    strangers = list(find_strangers(layout)) if layout.transformer.name in components else []
    components = {name: part for name, part in components.items() if part is not layout.transformer or not strangers}
    checked = {
        name: _check_component(layout, component)
        for name, component in components.items()
        if name not in misplaced.components
    }
    problems = [*misplaced.problems, *strangers, *(problem for found, _ in checked.values() for problem in found)]
    problems = problems or list(_check_neighbours(components))
    strange = {problem.field for problem in problems}
    for name, (_, headers) in checked.items():
        if not layout.has_empty_weights and str(components[name].folder) not in strange:
            samplings = (sample_numbers(header, components[name].rules) for header in headers)
            problems += [sampling.problem for sampling in samplings if sampling.problem]
    return problems


def _check_component(layout: WeightLayout, component: Component) -> tuple[list[Problem], list[Header]]:
    """All but the numbers: what is wrong, and the headers of the files that are whole."""
    if problem := _check_folder(layout, component):
        return [problem], []
    headers, header_problems = _read_headers(component)
    tokenizer_problems = check_tokenizer(component) if component.name in TOKENIZERS else ()
    problems = [*_check_config(component), *tokenizer_problems, *_check_index(component), *header_problems]
    if component.name in TABLES and not problems:
        problems += _check_tensors(component, headers)
    return problems, headers


def _check_folder(layout: WeightLayout, component: Component) -> Problem | None:
    try:
        with os.scandir(component.folder):
            return None
    except (FileNotFoundError, NotADirectoryError):
        what = f"the folder of {component.name} is missing"
        step = f"Set model.{field_of(layout, component)} in the manifest, or download them: sana-wm weights download"
        return Problem(str(component.folder), what, next_step=f"{step} (docs/weights.md).")
    except OSError as error:
        return Problem.of(str(component.folder), unreadable(component.folder, error, "the folder"))


def _check_config(component: Component) -> Iterator[Problem]:
    if component.config is None:
        return
    try:
        read_config(component)
    except WeightsError as error:
        yield recognise(component.config) or Problem.of(str(component.config), error)


def _check_index(component: Component) -> Iterator[Problem]:
    """The index must be readable and must name every shard that lies beside it."""
    if component.index is None:
        return
    try:
        named = {component.folder / file_name for file_name in read_weight_map(component.index).values()}
    except WeightsError as error:
        yield recognise(component.index) or Problem.of(str(component.index), error)
        return
    stem = component.index.name.removesuffix(".safetensors.index.json")
    for shard in sorted(set(component.folder.glob(f"{stem}-*-of-*.safetensors")) - named):
        yield Problem(str(shard), "this shard is not in the index", expected=component.index.name, next_step=REPAIR)


def _read_headers(component: Component) -> tuple[list[Header], list[Problem]]:
    headers: list[Header] = []
    problems: list[Problem] = []
    for shard in component.shards:
        if is_missing(shard):
            problems.append(_missing(component, shard))
            continue
        if problem := find_unfinished(shard):
            problems.append(problem)
            continue
        try:
            headers.append(read_header(shard))
        except WeightsError as error:
            problems.append(recognise(shard) or Problem.of(str(shard), error))
    return headers, problems


def _missing(component: Component, shard: Path) -> Problem:
    what = f"a weight file of {component.name} is missing"
    parts = sorted(path.name for path in shard.parent.glob(f"{glob.escape(shard.name)}.*"))
    return Problem(str(shard), what, got=", ".join(parts[:3]) or None, next_step=DOWNLOAD if parts else REPAIR)


def _check_tensors(component: Component, headers: list[Header]) -> Iterator[Problem]:
    """The tensors in whole files: those that the index promises, and those that the network needs."""
    yield from _first(component, _check_promises(component, headers))
    try:
        expected = expected_tensors(component.name, read_config(component))
    except (WeightsError, ValueError, TypeError, KeyError) as error:
        where = component.config or component.shards[0]
        yield Problem(str(where), f"the sizes of {component.name} cannot be read", got=str(error), next_step=REPAIR)
        return
    yield from _first(component, _compare(component, headers, expected))


def _first(component: Component, problems: Iterator[Problem]) -> Iterator[Problem]:
    yield from islice(problems, MAX_TENSORS_NAMED)
    rest = sum(1 for _ in problems)
    if rest:
        yield Problem(str(component.folder), f"{rest} more tensors of {component.name} are wrong", next_step=REPAIR)


def _check_promises(component: Component, headers: list[Header]) -> Iterator[Problem]:
    if component.index is None:
        return
    present = {header.path.name: header.tensors for header in headers}
    for name, file_name in read_weight_map(component.index).items():
        if file_name in present and name not in present[file_name]:
            shard = str(component.folder / file_name)
            yield Problem(shard, f"tensor {name} is not in this file, the index says so", next_step=REPAIR)


def _compare(component: Component, headers: list[Header], expected: dict[str, Shape] | None) -> Iterator[Problem]:
    """Stored tensors against the table; without one (`expected` is None) only twins and dtypes can be wrong."""
    seen: set[str] = set()
    for header in headers:
        for stored, entry in header.tensors.items():
            name = component.rules(stored)
            if name is None:
                continue
            where = str(header.path)
            if name in seen:
                yield Problem(where, f"tensor {stored} is there twice, here and before", next_step=REPAIR)
            elif expected is not None and name not in expected:
                yield Problem(where, f"tensor {stored} is not of this network", next_step=REPAIR)
            elif expected is not None and entry.shape != expected[name]:
                got, right = str(list(entry.shape)), str(list(expected[name]))
                yield Problem(where, f"tensor {stored} has the wrong shape", got=got, expected=right)
            elif entry.dtype not in LOADABLE_DTYPES:
                right = " or ".join(LOADABLE_DTYPES)
                yield Problem(where, f"tensor {stored} has the wrong dtype", got=entry.dtype, expected=right)
            seen.add(name)
    for name in expected or {}:
        if name not in seen:
            yield Problem(str(component.folder), f"tensor {name} is in none of the files", next_step=REPAIR)


def _check_neighbours(components: dict[str, Component]) -> Iterator[Problem]:
    networks = {name: component for name, component in components.items() if name in TABLES}
    sizes = {name: network_sizes(name, read_config(component)) for name, component in networks.items()}
    for giver, output, extra, taker, width in NEIGHBOURS:
        if giver in sizes and taker in sizes and sizes[giver][output] + extra != sizes[taker][width]:
            yield Problem(
                str(components[giver].folder),
                f"{giver} is not the one that {taker} was trained with",
                got=f"{output} {sizes[giver][output]}",
                expected=f"{output} {sizes[taker][width] - extra}, as {width} of {taker} says",
            )
