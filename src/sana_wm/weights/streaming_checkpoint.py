"""The student's training checkpoint, written once as safetensors; the only place where a pickle is opened.

`sana_dit/model.pt` holds the student as `generator`, and critic, optimizers and counters besides, in unknown size. It
is read weights-only, so that it can build nothing but tensors and plain containers, and mapped, so that what is not
asked for is never read. Run it in a process of its own: `python -m sana_wm.weights convert`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from sana_wm.durable import durable_file, sha256_of, write_durably
from sana_wm.errors import WeightsError
from sana_wm.weights.conversion import CONVERSION_NAME, Conversion, read_conversion_in, write_conversion
from sana_wm.weights.key_rules import STAGE1_RULES
from sana_wm.weights.layout import DIFFUSERS_STEM
from sana_wm.weights.record import RecordedFile
from sana_wm.weights.streaming_config import parse_streaming_config
from sana_wm.weights.tables import expected_tensors

STUDENT = "generator"
SHARD_BYTES = 2 * 10**9
LOADABLE = (torch.float32, torch.bfloat16, torch.float16)
FETCH_AGAIN = "Fetch sana_dit/model.pt again."


def convert_checkpoint(source: Path, out: Path) -> tuple[Conversion, bool]:
    """Write the student's tensors, in the dtype that they have, as shards with an index in diffusers' form.

    Args:
        source: The checkpoint. A config.json beside it says other sizes than the released ones.
        out: Folder for the shards, their index, a config.json and the record; `source`'s own will do.

    Returns:
        What was found and written, and whether it was there before; nothing is written then.

    Raises:
        WeightsError: It is no such checkpoint, or its tensors are not those of the network.
        HandoffError: The folder cannot be written.
    """
    digest = sha256_of(source)
    before = read_conversion_in(out)
    if before is not None and before.source_sha256 == digest and before.is_whole(out):
        return before, True
    config = _read_config(source.parent / "config.json")
    checkpoint = _open(source)
    student = _take_student(source, checkpoint)
    _verify(source, student, parse_streaming_config(config).network)
    for stale in (CONVERSION_NAME, *(before.files if before is not None else ())):
        (out / Path(stale).name).unlink(missing_ok=True)  # interrupted from here on, it is no conversion
    written = [*_write_shards(student, out), *_write_config(config, source.parent, out)]
    conversion = Conversion(
        source=source.name,
        source_bytes=source.stat().st_size,
        source_sha256=digest,
        found=tuple(sorted(set(checkpoint) - {STUDENT})),
        tensors=len(student),
        files={path.name: RecordedFile(size_bytes=path.stat().st_size, sha256=sha256_of(path)) for path in written},
    )
    write_conversion(out, conversion)
    return conversion, False


def _write_shards(student: Mapping[str, Tensor], out: Path) -> Iterator[Path]:
    """The shards, and the index that names them."""
    shards = list(_shards(student))
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        path = out / f"{DIFFUSERS_STEM}-{number:05d}-of-{len(shards):05d}.safetensors"
        with durable_file(path) as part:
            # Copies: what is mapped may share its memory, which the format cannot say.
            save_file({name: student[name].clone() for name in names}, part, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, path.name)
        yield path
    metadata = {"total_size": sum(tensor.nbytes for tensor in student.values())}
    index = out / f"{DIFFUSERS_STEM}.safetensors.index.json"
    write_durably(index, json.dumps({"metadata": metadata, "weight_map": weight_map}, indent=2) + "\n")
    yield index


def _write_config(config: Mapping[str, Any], beside: Path, out: Path) -> Iterator[Path]:
    """A config.json for the shards; one that came with the checkpoint and lies there already stays as it came."""
    path = out / "config.json"
    if path.is_file() and out.resolve() == beside.resolve():
        return
    write_durably(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
    yield path


def _open(source: Path) -> dict[str, Any]:
    try:
        content: object = torch.load(source, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # what an unpickler raises on a file of another kind has no class in common
        raise WeightsError(
            f"{source} cannot be read as a checkpoint of weights",
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            expected="a file of torch.save that holds tensors and plain containers only",
            next_step=FETCH_AGAIN,
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{source} holds no student", got=type(content).__name__, expected=f"an entry {STUDENT}")
    return {str(name): value for name, value in cast("dict[object, Any]", content).items()}


def _take_student(source: Path, checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Its tensors by the module's names."""
    stored: object = checkpoint.get(STUDENT)
    if not isinstance(stored, dict):
        found = ", ".join(sorted(checkpoint)) or "nothing"
        raise WeightsError(f"{source} holds no student", got=found, expected=f"an entry {STUDENT}")
    student: dict[str, Tensor] = {}
    for key, value in cast("dict[str, object]", stored).items():
        name = STAGE1_RULES(key)
        if name is None:
            continue
        if not isinstance(value, Tensor) or value.dtype not in LOADABLE:
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise WeightsError(f"{key} in {source} is no tensor of weights", got=got, next_step=FETCH_AGAIN)
        if name in student:
            raise WeightsError(f"{key} in {source} is there twice under one name", next_step=FETCH_AGAIN)
        student[name] = value
    return student


def _verify(source: Path, student: Mapping[str, Tensor], network: Mapping[str, Any]) -> None:
    """Hold names and shapes against the network's."""
    expected = expected_tensors("transformer", dict(network))
    if expected is None:
        return  # a structure that no table knows; the strict loader has the last word
    wrong = [
        f"{name} {got} instead of {right}"
        for name in sorted({*student, *expected})
        if (got := tuple(student[name].shape) if name in student else "missing")
        != (right := expected.get(name, "nothing"))
    ]
    if wrong:
        raise WeightsError(
            f"the tensors of {source} are not those of the student",
            got=f"{wrong[0]}, and {len(wrong) - 1} more" if len(wrong) > 1 else wrong[0],
            expected=f"{len(expected)} tensors of the released network, or a config.json beside it",
            next_step=FETCH_AGAIN,
        )


def _shards(student: Mapping[str, Tensor]) -> Iterator[list[str]]:
    """Names for one file each: so much is copied at a time."""
    names: list[str] = []
    held_bytes = 0
    for name, tensor in student.items():
        if names and held_bytes + tensor.nbytes > SHARD_BYTES:
            yield names
            names, held_bytes = [], 0
        names.append(name)
        held_bytes += tensor.nbytes
    yield names


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"the config {path} cannot be read", got=error) from error
    if not isinstance(content, dict):
        raise WeightsError(f"the config {path} is not a JSON object")
    return cast("dict[str, Any]", content)
