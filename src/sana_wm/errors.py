"""Every error a user can meet, as one tree; the exit code is a class attribute.

A message has four parts on one line: what happened, what was got, what was expected, what to do next.
"""

from __future__ import annotations

import difflib
import errno
import signal
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import ClassVar


class SanaWMError(Exception):
    """Base of all errors that are the user's to see.

    Args:
        what: What went wrong, a sentence without its full stop.
        got: What was found.
        expected: What would have been right.
        next_step: What the user can do about it.

    Attributes:
        exit_code: Of a command that ends with it.
        concerns: What it is about, in a list of findings.
    """

    exit_code: int = 1
    concerns: ClassVar[str] = "run"

    def __init__(self, what: str, *, got: object = None, expected: object = None, next_step: str | None = None) -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.next_step = next_step
        super().__init__(describe(what, got=got, expected=expected, next_step=next_step))


def describe(what: str, *, got: object = None, expected: object = None, next_step: str | None = None) -> str:
    """Join the parts of a message into one line, leaving out what is not known."""
    parts = [what]
    if got is not None:
        parts.append(f"got {got}")
    if expected is not None:
        parts.append(f"expected {expected}")
    text = "; ".join(parts)
    return printable(f"{text}. {next_step}" if next_step else text)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The word that somebody may have meant, or `None`."""
    return next(iter(difflib.get_close_matches(word.lower(), list(words), n=1)), None)


def did_you_mean(word: str, words: Iterable[str]) -> str | None:
    """The next step for a word that is none of some, or `None`."""
    return f"Did you mean {near}?" if (near := nearest(word, words)) is not None else None


def printable(text: str) -> str:
    """Text whose control characters are spelled out: a file's content must not steer a terminal."""
    return "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in text)


@dataclass(frozen=True)
class Problem:
    """One finding of a check that lists all it finds: where (a manifest field or a file) and the four parts."""

    field: str
    what: str
    got: str | None = None
    expected: str | None = None
    next_step: str | None = None

    @classmethod
    def of(cls, field: str, error: SanaWMError) -> Problem:
        """An error as one finding among others."""
        got, expected = (None if part is None else str(part) for part in (error.got, error.expected))
        return cls(field, error.what, got, expected, error.next_step)

    @classmethod
    def all_of(cls, error: SanaWMError) -> list[Problem]:
        """An error as findings: a list's own, or one that is named for what was refused."""
        if isinstance(error, ProblemListError):
            return error.problems
        return [cls.of(error.concerns, error)]

    def __str__(self) -> str:
        text = describe(self.what, got=self.got, expected=self.expected, next_step=self.next_step)
        return f"{printable(self.field)}: {text}"

    def as_json(self) -> dict[str, str | None]:
        """The parts by name, for `--json`."""
        return asdict(self)


class ProblemListError(SanaWMError):
    """Several problems at once, so that a user mends them in one go."""

    def __init__(self, problems: list[Problem], hint: str | None = None) -> None:
        self.problems = problems
        count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
        super().__init__(
            "\n".join(
                [f"{self.headline}: {count}", *(f"  {problem}" for problem in problems), *([hint] if hint else [])]
            )
        )

    headline: ClassVar[str] = "check failed"


class ManifestError(ProblemListError):
    """The manifest, or an input file that it names, is not usable."""

    exit_code = 2
    headline = "the manifest cannot be run"


class UsageError(SanaWMError):
    """A command was called with something that it cannot take."""

    exit_code = 2


class PictureError(UsageError):
    """A picture cannot be the first frame."""


class RefusedRunError(ProblemListError):
    """Several things keep a run from starting; the exit code is that of the first."""

    headline = "the run cannot start"

    def __init__(self, problems: list[Problem], exit_code: int, hint: str | None = None) -> None:
        self.exit_code = exit_code
        super().__init__(problems, hint)


class WeightsError(SanaWMError):
    """A weight file is missing, damaged or not of this model."""

    exit_code = 3
    concerns = "weights"


class IncompleteWeightsError(ProblemListError):
    """The weight layout is incomplete; every missing or wrong part is listed."""

    exit_code = 3
    headline = "the weights cannot be used"


class DownloadError(ProblemListError):
    """Weights cannot be downloaded: the hub refuses, lacks or damages a file, or the disk has no room for it."""

    exit_code = 3
    headline = "the weights cannot be downloaded"


class HandoffError(SanaWMError):
    """A file that one stage leaves for the next is missing, damaged or of another run."""

    exit_code = 4
    concerns = "output_dir"


class MemoryCapError(SanaWMError):
    """A stage went over the memory cap."""

    exit_code = 5
    concerns = "memory"


class MemoryNotReleasedError(SanaWMError):
    """A phase ended and device memory, or a process, was still held."""

    exit_code = 6


class StageFailedError(SanaWMError):
    """A stage failed; its log is named."""

    exit_code = 7


class LibraryMismatchError(SanaWMError):
    """An installed library is not the one that our arithmetic was written against."""

    exit_code = 7


class SanityError(SanaWMError):
    """Latents or frames failed their sanity checks."""

    exit_code = 8


class RunDirectoryBusyError(SanaWMError):
    """Another process owns the run directory."""

    exit_code = 9


class InterruptedRunError(SanaWMError):
    """The run was asked to stop and did, after saving."""

    exit_code = 130


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: What reading and writing are refused with alike.
_STORAGE = (
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN),
    *_NO_ROOM,
)
_FILES = (errno.EMFILE, errno.ENFILE)
_PATHS = (errno.ENAMETOOLONG, errno.ELOOP)


class ModuleEndedError(Exception):
    """A module of ours that ran in a process of its own ended early; it has said why on standard error.

    Attributes:
        exit_code: As it ended, negative for a signal.
    """

    def __init__(self, module: str, exit_code: int) -> None:
        self.exit_code = exit_code
        how = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
        super().__init__(f"{module} ended with {how}")


def as_refusal(error: OSError) -> SanaWMError | None:
    """What the system refused, as an error of ours; `None` where it is rather a bug, whose traceback is wanted."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in _STORAGE:
        return HandoffError(
            f"the system refused access to a file{where}",
            got=error.strerror,
            expected="a volume that is there, that you may read and write, with free space",
            next_step="What was written before is untouched. Mend it, then repeat the command (a run: sana-wm resume).",
        )
    if error.errno in _PATHS:
        return UsageError(
            f"a path cannot be used{where}",
            got=error.strerror,
            expected="names of 255 bytes at most, and links that lead somewhere",
            next_step="Check the path; a shorter one does.",
        )
    if error.errno in _FILES:
        return StageFailedError(
            f"the system opens no more files{where}",
            got=error.strerror,
            expected="256 open files or more for a process",
            next_step="Raise the limit (ulimit -n 1024), then go on with sana-wm resume RUN_DIR.",
        )
    return None
