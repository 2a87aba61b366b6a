"""The patch catalogue against the code, both ways, and against the installed libraries."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sana_wm.errors import LibraryMismatchError
from sana_wm.replacements import catalogue
from sana_wm.replacements.catalogue import Patch, load_catalogue, require
from sana_wm.replacements.upstream_catalogue import load_upstream_catalogue

ROOT = Path(__file__).resolve().parents[2]
PATCHES = load_catalogue()


@pytest.fixture
def required(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The ids that are asked for from here on; the real verification still runs."""
    seen: set[str] = set()
    verify = catalogue._verify  # pyright: ignore[reportPrivateUsage]

    def record(patch: Patch) -> None:
        seen.add(patch.id)
        verify(patch)

    monkeypatch.setattr(catalogue, "_verify", record)
    return seen


@pytest.mark.parametrize("name", PATCHES)
def test_an_entry_fits_the_installed_library_and_names_what_is_there(name: str) -> None:
    patch = PATCHES[name]
    require(name)
    for symbol in patch.replaced_by:
        module, _, attribute = symbol.partition(":")
        assert hasattr(importlib.import_module(module), attribute), symbol
    for test in patch.proven_by:
        file, _, function = test.partition("::")
        assert re.search(rf"^def {function}\(", (ROOT / file).read_text(), re.MULTILINE), test
    assert patch.why.strip()
    assert patch.drop_when.strip()


def test_every_entry_is_applied_to_a_loaded_model(required: set[str], tiny_models: dict[str, dict[str, Any]]) -> None:
    """Build every engine on the tiny checkpoint, as the stages do: together they ask for the whole catalogue."""
    import torch

    from sana_wm.models.loading import load_connectors, load_stage1_transformer, load_vae
    from sana_wm.models.refiner.loading import open_refiner_engine
    from sana_wm.models.refiner.text import connect
    from sana_wm.models.stage1.engine import Stage1Engine
    from sana_wm.models.vae.first_frame import encode_first_frame
    from sana_wm.models.vae.streaming_decoder import StreamingDecoder
    from sana_wm.planning.decode import forecast
    from sana_wm.weights.layout import resolve_layout

    model = tiny_models["original"]
    layout = resolve_layout("original", Path(model["root"]), Path(model["gemma_root"]))
    cpu, dtype = torch.device("cpu"), torch.float32
    Stage1Engine(load_stage1_transformer(layout, cpu, dtype), camera_rescale="pr379")
    encode_first_frame(load_vae(layout, cpu, dtype, "encoder"), torch.zeros(1, 3, 64, 64))
    vae = load_vae(layout, cpu, dtype, "decoder")
    StreamingDecoder(vae, forecast(vae.config, 2, 2, dtype.itemsize, (1, 1, 1, 1)))
    connectors = load_connectors(layout, cpu, dtype)
    width = connectors.text_proj_in.in_features
    connect(connectors, torch.zeros(1, 128, width), torch.ones(1, 128, dtype=torch.int64))
    with open_refiner_engine(layout.refiner_transformer, device=cpu, dtype=dtype, resident_blocks=99):
        pass
    assert required == set(PATCHES)


def test_every_id_that_the_code_asks_for_has_an_entry() -> None:
    asked: set[str] = set()
    for path in (ROOT / "src" / "sana_wm" / "models").rglob("*.py"):
        for call in re.findall(r"require\(([^)]*)\)|^PATCHES = \(([^)]*)\)", path.read_text(), re.MULTILINE):
            asked |= set(re.findall(r'"([a-z0-9-]+)"', "".join(call)))
    assert asked == set(PATCHES)


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("diffusers.models.transformers.transformer_sana_wm:SanaWMTransformer3DModel.forward", "has another source"),
        ("diffusers.models.transformers.transformer_sana_wm:SanaWMTransformer3DModel.sideways", "is gone"),
        ("diffusers.models.transformers.transformer_sana_wm_v2:Model", "is gone"),
    ],
)
def test_a_library_that_changed_is_refused(monkeypatch: pytest.MonkeyPatch, symbol: str, said: str) -> None:
    patch = replace(next(iter(PATCHES.values())), replaces={symbol: "0" * 16})
    monkeypatch.setattr(catalogue, "load_catalogue", lambda: {patch.id: patch})
    with pytest.raises(LibraryMismatchError, match=said) as caught:
        require(patch.id)
    assert caught.value.exit_code == 7
    assert "Install diffusers==0.42.1" in str(caught.value)


def test_the_catalogue_is_printed_as_text_and_as_json(sana_wm: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = sana_wm("patches", "list")
    assert code == 0
    assert all(name in out for name in PATCHES)
    code, out, _ = sana_wm("patches", "list", "--json")
    entries = json.loads(out)
    assert [entry["id"] for entry in entries if "patch_points" not in entry] == sorted(PATCHES)
    assert [entry["id"] for entry in entries if "patch_points" in entry] == sorted(load_upstream_catalogue())
