"""Converting the student's checkpoint, for `weights convert` and `weights download`."""

from __future__ import annotations

from sana_wm.cli.transfer_view import OpenTransferView
from sana_wm.errors import UsageError
from sana_wm.modules import run_module
from sana_wm.weights.places import WeightPlaces


def convert_student(places: WeightPlaces, view: OpenTransferView) -> None:
    """Convert in a process of its own, the only one that ever opens a pickle.

    Args:
        places: Where the weights lie.
        view: Shows what is done.

    Raises:
        UsageError: There is nothing to convert.
    """
    student = places.layout().transformer
    if student.checkpoint is None:
        kind = f"variant {places.variant}, layout {places.layout_name}"
        raise UsageError("there is nothing to convert", got=kind, expected="NVIDIA's own files of variant streaming")
    if not student.checkpoint.is_file():
        step = "Download it: sana-wm weights download --variant streaming"
        raise UsageError("the checkpoint is not here", got=str(student.checkpoint), next_step=step)
    view.say(f"converting {student.checkpoint}")
    run_module("sana_wm.weights", ["convert", str(student.checkpoint), "--out", str(student.folder)], quiet=True)
    view.say(f"converted: nothing reads {student.checkpoint} again; you may delete it")
