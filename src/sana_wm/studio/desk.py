"""What all screens share: the runs folder, its runs by name, how runs are begun. It keeps nothing that no file says."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from sana_wm.catalogue.entry import Entry
from sana_wm.catalogue.folder import Catalogue, read_catalogue
from sana_wm.drafting.lineage import Parent, find_parent
from sana_wm.drafting.new_run import NewRun
from sana_wm.durable import make_folder
from sana_wm.errors import UsageError
from sana_wm.launcher.detached import start_detached
from sana_wm.preflight.prospect import NOTHING_ELSE, Choices, inspect
from sana_wm.queue.adding import add
from sana_wm.queue.folder import Queue
from sana_wm.runs.run_directory import RunDirectory

#: All tabs together look at the folder so often at most.
LOOK_EVERY_S = 2.0


class Desk:
    """A runs folder as the page works on it.

    Args:
        runs: The folder, absolute; made where it is missing.
        environment: This process's environment.
    """

    def __init__(self, runs: Path, environment: Mapping[str, str]) -> None:
        make_folder(runs)
        self.runs, self.environment = runs.resolve(), environment
        #: Pictures that were dropped, previews, and what starts said; hidden, so that no list of runs shows it.
        self.own = self.runs / ".studio"
        self._lock = threading.Lock()
        self._seen: Catalogue | None = None
        self._seen_at_s = 0.0

    @property
    def queue(self) -> Queue:
        """The folder's queue."""
        return Queue(self.runs / "queue")

    def catalogue(self, *, anew: bool = False) -> Catalogue:
        """The runs as they were a moment ago; `anew`: as they are."""
        with self._lock:
            if self._seen is None or anew or time.monotonic() - self._seen_at_s > LOOK_EVERY_S:
                self._seen = read_catalogue(self.runs)
                self._seen_at_s = time.monotonic()
            return self._seen

    def name_of(self, path: Path) -> str:
        """How addresses name a run: by its path below the folder."""
        return path.relative_to(self.runs).as_posix()

    def entry(self, name: str) -> Entry:
        """The run of a name. Only what the folder lists has one: no name leads out of it.

        Raises:
            UsageError: There is none.
        """
        for anew in (False, True):
            for entry in self.catalogue(anew=anew).entries:
                if self.name_of(entry.path) == name:
                    return entry
        raise UsageError("there is no such run here", got=repr(name), expected="a run of this folder")

    def run(self, name: str) -> RunDirectory:
        """The same as a directory."""
        return self.entry(name).run

    def parent(self, name: str) -> Parent:
        """The same as what another is made from."""
        return find_parent(self.entry(name).path)

    def log_of(self, run: Path) -> Path:
        """What the starts of a run said, and why one was refused."""
        return self.own / "logs" / f"{self.name_of(run).replace('/', '--')}.log"

    def start(self, new: NewRun, choices: Choices = NOTHING_ELSE) -> str:
        """Start a new run as the command does, in a process that outlives this one; its name.

        Raises:
            SanaWMError: It cannot start; its name is free again.
        """
        try:
            inspect(new.manifest_path, self.environment, choices).require()
        except BaseException:
            new.discard_unstarted()
            raise
        stop = [] if choices.stop_after is None else ["--to", choices.stop_after]
        start_detached(["sana_wm", "run-pipeline", str(new.manifest_path), *stop], self.log_of(new.path))
        return self.name_of(new.path)

    def go_on(self, verb: str, run: Path) -> None:
        """`resume` or `refine` a run in such a process."""
        start_detached(["sana_wm", verb, str(run)], self.log_of(run))

    def enqueue(self, new: Sequence[NewRun], choices: Choices = NOTHING_ELSE) -> int:
        """Add new runs to the queue; how many.

        Raises:
            SanaWMError: One cannot start; then none is added, and their names are free again.
        """
        try:
            return len(add(self.queue, [one.manifest_path for one in new], self.environment, choices))
        except BaseException:
            for one in new:
                one.discard_unstarted()
            raise

    def work_queue(self) -> None:
        """Let a runner work the queue, in such a process."""
        start_detached(["sana_wm", "queue", "run", "--runs", str(self.runs)], self.own / "logs" / "queue.log")
