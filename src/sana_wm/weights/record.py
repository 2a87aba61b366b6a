"""What was downloaded into a folder: `sana-wm-weights.json` beside the files, so that they can be verified offline."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sana_wm.durable import discard, make_part, publish
from sana_wm.errors import WeightsError
from sana_wm.weights.reading import read_plain, unreadable

RECORD_NAME = "sana-wm-weights.json"


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class RecordedFile(_Strict):
    """One file as the hub had it."""

    size_bytes: int
    sha256: str


class WeightRecord(_Strict):
    """All files of one repository that were found equal to the hub's.

    Attributes:
        version: Of this format.
        repo_id: The repository.
        commit: The newest commit that a file came from.
        files: By path inside the repository.
    """

    version: int = 1
    repo_id: str
    commit: str
    files: dict[str, RecordedFile] = {}

    def having(self, name: str, file: RecordedFile) -> WeightRecord:
        """The record with one file more, or newer."""
        return self.model_copy(update={"files": {**self.files, name: file}})


def read_record(folder: Path) -> WeightRecord | None:
    """The record of a folder, or None where there is none.

    Raises:
        WeightsError: It cannot be read.
    """
    path = folder / RECORD_NAME
    try:
        if not path.exists():
            return None
        return WeightRecord.model_validate_json(read_plain(path, "the download record"))
    except OSError as error:
        raise unreadable(path, error, "the download record") from error
    except ValidationError as error:
        raise WeightsError(
            f"the download record {path} cannot be read",
            got=str(error).splitlines()[0],
            next_step="Delete it; the next download hashes what is there and writes it anew.",
        ) from error


def write_record(folder: Path, record: WeightRecord) -> None:
    """Write the record so that a crash leaves the old one or the new one.

    Raises:
        OSError: The folder cannot be written.
    """
    part = make_part(folder / RECORD_NAME)
    try:
        part.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        publish(part, folder / RECORD_NAME)
    finally:
        discard(part)
