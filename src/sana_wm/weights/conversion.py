"""What is known of a conversion from a training checkpoint: `sana-wm-conversion.json` beside what was written.

`streaming_checkpoint.py` converts and needs torch; whoever only asks what was converted reads this.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sana_wm.durable import write_durably
from sana_wm.errors import WeightsError
from sana_wm.records import Record
from sana_wm.weights.layout import Component
from sana_wm.weights.reading import is_file, read_plain, unreadable
from sana_wm.weights.record import RecordedFile

CONVERSION_NAME = "sana-wm-conversion.json"
CONVERT = "sana-wm weights convert"


class Conversion(Record):
    """A conversion that was finished: names and shapes of all tensors were the network's.

    Attributes:
        source: File name of the checkpoint.
        source_bytes: Its size.
        source_sha256: Of all its bytes.
        found: What else lay in it beside the student.
        tensors: How many were written.
        files: What was written, by name.
    """

    version: int = 1
    source: str
    source_bytes: int
    source_sha256: str
    found: tuple[str, ...]
    tensors: int
    files: dict[str, RecordedFile]

    @property
    def written_bytes(self) -> int:
        """Of all files."""
        return sum(file.size_bytes for file in self.files.values())

    def is_whole(self, folder: Path) -> bool:
        """Whether its files are there, by their sizes."""
        return all(
            is_file(folder / name) and (folder / name).stat().st_size == file.size_bytes
            for name, file in self.files.items()
        )


def read_conversion(component: Component) -> Conversion | None:
    """The conversion that a component's files came from; None where they came from none, or it was not finished.

    Raises:
        WeightsError: Its record cannot be read.
    """
    conversion = None if component.checkpoint is None else read_conversion_in(component.folder)
    return conversion if conversion is not None and conversion.is_whole(component.folder) else None


def read_conversion_in(folder: Path) -> Conversion | None:
    """The record of a folder, whether or not its files are there.

    Raises:
        WeightsError: It cannot be read.
    """
    path = folder / CONVERSION_NAME
    try:
        return Conversion.model_validate_json(read_plain(path, "the record of a conversion")) if path.exists() else None
    except OSError as error:
        raise unreadable(path, error, "the record of a conversion") from error
    except ValidationError as error:
        raise WeightsError(
            f"the record of a conversion {path} cannot be read",
            got=str(error).splitlines()[0],
            next_step=f"Delete it, and convert again: {CONVERT}",
        ) from error


def write_conversion(folder: Path, conversion: Conversion) -> None:
    """Write the record, the last file of a conversion.

    Raises:
        HandoffError: The folder cannot be written.
    """
    write_durably(folder / CONVERSION_NAME, conversion.model_dump_json(indent=1) + "\n")
