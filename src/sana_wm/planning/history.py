"""How long phases took on this machine: a line per phase of every finished stage, and of every benchmark."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from sana_wm.errors import HandoffError
from sana_wm.machine import cache_folder
from sana_wm.plain_files import open_plain
from sana_wm.records import Count, OpenRecord, Seconds

#: A time says nothing of work so many times as large. One step of a benchmark and a run of 60 steps at three times the
#: length are 240 times apart.
COMPARABLE = 1000.0
#: Stage and phase of the benchmarks of one engine.
BENCHED = {
    "stage1": ("stage1", "transformer"),
    "refiner": ("refiner", "transformer"),
    "decode": ("vae_decode", "vae_decoder"),
}


@dataclass(frozen=True)
class PhaseTime:
    """One phase as it went.

    Attributes:
        device: Name of the device.
        dtype: What was computed in.
        stage: The stage.
        phase: The phase.
        tflop: Its arithmetic; 0 for what is none.
        seconds: How long it took, loading included.
        source: `run`, or `bench`, which loads nothing or from no disk.
        parameters: Of the network; 0 where nobody said.
    """

    __pydantic_config__ = OpenRecord.model_config

    device: str
    dtype: str
    stage: str
    phase: str
    tflop: Annotated[float, Field(ge=0, lt=1e15)]
    seconds: Seconds
    source: str = "run"
    parameters: Count = 0


_PHASE_TIMES = TypeAdapter(PhaseTime)


class History:
    """The times of this user's machine.

    Args:
        path: A JSON-lines file; need not be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: list[PhaseTime] | None = None

    @classmethod
    def of_this_user(cls, environment: Mapping[str, str]) -> History:
        """The one that runs and benchmarks write."""
        return cls(cache_folder(environment) / "history.jsonl")

    def add(self, times: list[PhaseTime]) -> None:
        """Append; a run does not fail because its times cannot be kept."""
        self._known = None
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(time)) + "\n" for time in times)

    def add_bench(self, report: Mapping[str, Any]) -> None:
        """Append what `sana-wm bench` measured of our engines."""
        place = BENCHED.get(report["what"])
        if place is None:  # its stages have added their times, as every run's do
            return
        stage, phase = place
        rows = [row for row in report["rows"] if row["engine"] == "sana_wm" and "tflop" in row]
        device = report["device_name"]
        self.add([PhaseTime(device, row["dtype"], stage, phase, row["tflop"], row["seconds"], "bench") for row in rows])

    def read(self) -> list[PhaseTime]:
        """All times, the oldest first; lines that are none, such as one cut off by a crash, are left out."""
        try:
            with open_plain(self._path) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HandoffError(
                f"the times of earlier runs in {self._path} cannot be read",
                got=str(error),
                next_step="Delete the file; it only serves estimates.",
            ) from error
        times: list[PhaseTime] = []
        for line in lines:
            with contextlib.suppress(ValidationError):
                times.append(_PHASE_TIMES.validate_json(line))
        return times

    def seconds(
        self, device: str, dtype: str, stage: str, phase: str, tflop: float, parameters: int = 0
    ) -> float | None:
        """What a phase will take: the time of the one nearest in size, the newest of equals, scaled by arithmetic.

        A network of another size, such as the demo's, spends its time on other things.

        Returns:
            Seconds; `None` when no such phase of comparable size ran on such a device in this dtype.
        """
        if self._known is None:
            self._known = self.read()
        alike = [
            time
            for time in self._known
            if (time.device, time.dtype, time.stage, time.phase) == (device, dtype, stage, phase)
            and time.seconds > 0
            and (time.tflop > 0) == (tflop > 0)
            and (not time.parameters or not parameters or time.parameters == parameters)
            and tflop / COMPARABLE <= time.tflop <= tflop * COMPARABLE
        ]
        if not alike:
            return None
        if not tflop:
            return alike[-1].seconds
        # A run counts before a benchmark of the same size: it includes the loading.
        nearest = min(
            reversed(alike), key=lambda time: (round(abs(math.log(time.tflop / tflop)), 2), time.source == "bench")
        )
        return nearest.seconds * tflop / nearest.tflop
