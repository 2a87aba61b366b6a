"""`bench memory` at toy size: a whole run through the command line, and a row for every phase of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROWS = [
    ("stage1", "text_encoder"),
    ("stage1", "vae_encoder"),
    ("stage1", "transformer"),
    ("refiner", "text_encoder"),
    ("refiner", "connectors"),
    ("refiner", "transformer"),
    ("vae_decode", "vae_decoder"),
]


def toy_configs() -> dict[str, dict[str, Any]]:
    """The tiny checkpoint's configs, as config.json has them."""
    import torch

    from sana_wm.weights.tables import TABLES
    from sana_wm.weights.tiny_models import NETWORKS

    configs: dict[str, dict[str, Any]] = {}
    for name in TABLES:
        with torch.device("meta"):
            config = NETWORKS[name].build().config
        plain = config.to_dict() if hasattr(config, "to_dict") else dict(config)
        configs[name] = json.loads(json.dumps(plain.get("text_config", plain), default=str))
    return configs


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    import torch

    from sana_wm.bench.memory import Trial, measure_trial, write_manifest
    from sana_wm.runtime.device import describe_device
    from sana_wm.weights.hollow import write_hollow_checkpoint

    folder = tmp_path_factory.mktemp("memory")
    write_hollow_checkpoint(folder / "model", toy_configs())
    path = write_manifest(folder, 9, 8.0, 1, "cpu")
    manifest = json.loads(path.read_text())
    manifest["video"] |= {"height": 192, "width": 320}
    path.write_text(json.dumps(manifest))
    return measure_trial(Trial(path, describe_device(torch.device("cpu"))))


def test_every_phase_has_a_row_with_its_forecast(result: dict[str, list[dict[str, Any]]]) -> None:
    rows = result["phases"]
    assert [(row["stage"], row["phase"]) for row in rows] == ROWS
    for row in rows:
        assert (row["cap_gib"], row["num_frames"]) == (8.0, 9)
        assert row["predicted_bytes"] > 1024**3  # the process itself is in it where memory is shared
        measured, share = row["measured_bytes"], row["predicted_over_measured"]
        assert (measured is None) == (share is None) == (row["within_bar"] is None)
        if measured:
            assert row["within_bar"] == (0.95 <= row["predicted_bytes"] / measured <= 1.1)


def test_what_the_governor_saw_of_the_stages_is_kept(result: dict[str, list[dict[str, Any]]]) -> None:
    assert [row["stage"] for row in result["stages"]] == ["stage1", "refiner", "vae_decode"]
    assert all(row["peak_process_bytes"] > 10_000_000 for row in result["stages"])


def test_runs_of_the_benchmark_add_no_times_of_their_own(tmp_path: Path) -> None:
    from sana_wm.launcher.history import History

    history = History(tmp_path / "history.jsonl")
    history.add_bench({"what": "memory", "rows": [{"engine": "sana_wm"}], "device_name": "x"})
    assert history.read() == []
