"""Checkpoints inside a stage: written crash-safely beside the computation, the newest two kept."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch

from sana_wm.durable import remove_file
from sana_wm.errors import HandoffError
from sana_wm.runtime.device import is_out_of_memory
from sana_wm.runtime.latents import load_tensors, save_tensors

_NAME = re.compile(r"(\d{5})\.safetensors")
KEPT = 2


class Checkpoints:
    """The checkpoints of one stage.

    Args:
        folder: Where they lie, `NNNNN.safetensors` by the number of steps done.
        owner: Metadata that a checkpoint must carry to be of this run, such as the digest of the stage's settings.
    """

    def __init__(self, folder: Path, owner: Mapping[str, str]) -> None:
        self.folder = folder
        self.owner = dict(owner)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def save(self, done: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Save the state after `done` steps while the next step computes.

        The copy to the CPU is made before this returns, so the caller may change its tensors. A failed earlier write
        is raised here.
        """
        self.wait()
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        self._pending = self._writer.submit(self._write, done, copies)

    def wait(self) -> None:
        """Wait until what was saved is on the disk.

        Raises:
            HandoffError: The last write failed.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    @contextlib.contextmanager
    def kept_when_out_of_memory(
        self, done: int, tensors: Mapping[str, torch.Tensor], verify: Callable[[], None]
    ) -> Generator[None]:
        """Save the state after `done` steps if the block runs out of memory; the error goes on.

        Args:
            done: Steps.
            tensors: The state.
            verify: Raises when the state must not be kept.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if done and is_out_of_memory(error):
                verify()
                self.save(done, tensors)
                self.wait()
            raise

    def load_newest(self) -> tuple[int, dict[str, torch.Tensor]] | None:
        """The newest checkpoint of this run that is whole: steps done and tensors; `None` when there is none.

        One that is damaged or of another run is deleted; the log says so.
        """
        for done, path in reversed(self._present()):
            try:
                return done, load_tensors(path, self.owner)
            except HandoffError as error:
                if isinstance(error.__cause__, OSError):
                    raise  # the disk, not the file: the checkpoint may be good
                # A damaged or foreign checkpoint must not stop a run that an older one, or a fresh start, can serve.
                sys.stderr.write(f"passed over and deleted: {error}\n")
                remove_file(path)
        return None

    def _write(self, done: int, tensors: Mapping[str, torch.Tensor]) -> None:
        save_tensors(self.folder / f"{done:05d}.safetensors", tensors, self.owner)
        for _, path in self._present()[:-KEPT]:
            remove_file(path)

    def _present(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        matches = ((_NAME.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(match.group(1)), path) for match, path in matches if match)
