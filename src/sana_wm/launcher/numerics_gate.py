"""The gate before a real run: does this machine's accelerator compute rightly?

The self-test takes a minute, so its result is kept, by machine, operating system, torch and sana-wm. A machine with
nothing but a CPU is let through and asked again next time: it may have got an accelerator.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from sana_wm import __version__
from sana_wm.durable import write_durably
from sana_wm.errors import HandoffError, StageFailedError
from sana_wm.launcher.cache import cache_folder
from sana_wm.launcher.diagnosis import run_diagnostic
from sana_wm.launcher.process import find_device
from sana_wm.launcher.system import describe_system
from sana_wm.machine import name_chip

SelfTest = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class MachineKey:
    """What the result of the self-test depends on.

    Attributes:
        host: Name of the machine without its domain, which changes with the network.
        processor: Its name.
        system: Operating system with its version and, on a Mac, its build.
        torch: Version of torch.
        sana_wm: Version of this package, whose checks they are.
    """

    host: str
    processor: str
    system: str
    torch: str
    sana_wm: str

    @classmethod
    def of_this_machine(cls) -> MachineKey:
        """The key here and now; torch is not imported."""
        return cls(
            host=platform.node().partition(".")[0],
            processor=name_chip() or platform.processor(),
            system=describe_system(),
            torch=metadata.version("torch"),
            sana_wm=__version__,
        )


def run_self_test(environment: Mapping[str, str], say: Callable[[str], None]) -> dict[str, Any]:
    """Run the self-test of this machine's accelerator, if it has one, in a process of its own; returns its report."""
    if find_device("auto").kind == "cpu":
        return {"device": "cpu", "checks": [], "failed": []}
    say("checking the accelerator's arithmetic: up to a minute, once")
    return run_diagnostic("numerics", ["--only-accelerator"], quiet=True, environment=environment).report


class NumericsGate:
    """Holds the result of the self-test against what a run needs.

    Args:
        folder: Where results are kept; see `cache_folder`.
        key: Of the machine.
        say: Told about what takes time and about what was let through.
        run_self_test: Runs the self-test.
    """

    def __init__(
        self,
        folder: Path,
        key: MachineKey,
        *,
        say: Callable[[str], None],
        run_self_test: SelfTest,
    ) -> None:
        digest = hashlib.sha256(json.dumps(asdict(key)).encode()).hexdigest()
        self.file = folder / f"numerics-{digest[:16]}.json"
        self._key = key
        self._say = say
        self._run_self_test = run_self_test

    @classmethod
    def of_this_machine(cls, environment: Mapping[str, str], say: Callable[[str], None]) -> NumericsGate:
        """The gate with this machine's key and this user's cache."""
        return cls(
            cache_folder(environment),
            MachineKey.of_this_machine(),
            say=say,
            run_self_test=partial(run_self_test, environment, say),
        )

    def check(self, device: str, accepted: Collection[str]) -> None:
        """Let a run through, or not.

        Args:
            device: The manifest's `device`.
            accepted: Ids of checks that may fail.

        Raises:
            StageFailedError: A check that sana-wm relies on failed and was not accepted.
        """
        if device != "cpu":
            for check in self._judge(self._kept() or self._test(), accepted):
                self._say(f"warning: numerics check {check['id']} fails on this machine and was accepted")

    def check_kept(self, device: str, accepted: Collection[str]) -> None:
        """As `check`, by an earlier result alone: what was never tested is not refused here."""
        if device != "cpu" and (report := self._kept()) is not None:
            self._judge(report, accepted)

    def _judge(self, report: Mapping[str, Any], accepted: Collection[str]) -> list[dict[str, Any]]:
        """The failed checks of a report that were accepted."""
        failed = [check for check in report["checks"] if check["id"] in report["failed"]]
        if refused := [check for check in failed if check["id"] not in accepted]:
            raise StageFailedError(_describe(report["device"], refused, self.file))
        return failed

    def keep(self, report: Mapping[str, Any]) -> None:
        """Keep a report for the next runs; one of a CPU is not kept.

        A cache that cannot be written costs a minute the next time, not the run.
        """
        if report["device"] == "cpu":
            return
        try:
            write_durably(self.file, json.dumps({"key": asdict(self._key), "report": report}, indent=1) + "\n")
        except HandoffError as error:
            self._say(f"warning: the numerics self-test will run again next time: {error}")

    def _kept(self) -> dict[str, Any] | None:
        try:
            return json.loads(self.file.read_text(encoding="utf-8"))["report"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._say(f"warning: {self.file} cannot be read ({error}); the self-test runs again")
            return None

    def _test(self) -> dict[str, Any]:
        report = self._run_self_test()
        self.keep(report)
        return report


def _describe(device: str, refused: list[dict[str, Any]], file: Path) -> str:
    accept = " ".join(f"--accept-numerics {check['id']}" for check in refused)
    return "\n".join(
        [
            f"this machine's {device} computes wrongly what a run relies on",
            *(
                f"  {check['id']}: {check['operation']}; got {_error(check)}; expected at most "
                f"{check['tolerance']:.0e}. Known issue: {check['known_issue']}. {check['advice']}"
                for check in refused
            ),
            f"`sana-wm doctor --numerics` tests again (this result: {file}). To run all the same: {accept}",
        ]
    )


def _error(check: Mapping[str, Any]) -> str:
    if check["raised"]:
        return str(check["raised"])
    return "numbers that are not finite" if check["error"] is None else f"a relative error of {check['error']:.1e}"
