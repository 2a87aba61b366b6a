"""The options that say what video is wanted: the same for every command that makes or changes a manifest."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from sana_wm.cli import completion
from sana_wm.cli.camera import DialectOption, MoveOption
from sana_wm.cli.picture_options import CropOption, SizeOption, parse_crop, parse_size
from sana_wm.drafting.request import VideoRequest
from sana_wm.errors import UsageError
from sana_wm.names import Variant

#: By the attribute of `VideoRequest` that takes it, in the order of `--help`.
VIDEO_OPTIONS: dict[str, Any] = {
    "prompt": Annotated[str | None, typer.Option("--prompt", help="What the video shows.")],
    "prompt_file": Annotated[Path | None, typer.Option("--prompt-file", help="Text file with the prompt.")],
    "negative_prompt": Annotated[
        str | None, typer.Option("--negative-prompt", help="What it shall not show; not for the streaming model.")
    ],
    "move": MoveOption,
    "action": Annotated[str | None, typer.Option("--action", help="Action string, such as w-80,jw-40.")],
    "dialect": DialectOption,
    "poses": Annotated[
        Path | None, typer.Option("--poses", help="Poses file of any known format, instead of --action.")
    ],
    "seconds": Annotated[
        float | None,
        typer.Option("--seconds", min=0.01, help="Length: steps of 0.5 s at 16 fps; streaming: 1.5 s, from 3 s on."),
    ],
    "size": SizeOption,
    "crop": CropOption,
    "preset": Annotated[
        str | None,
        typer.Option(
            "--preset",
            autocompletion=completion.presets,
            help="draft (4 steps, no refiner; default), fast (40, guidance in half of them), standard (40), "
            "author-defaults (60); fast is none of the streaming model.",
        ),
    ],
    "variant": Annotated[
        Variant | None, typer.Option("--variant", help="bidirectional (the default) or streaming, its 4-step student.")
    ],
    "seed": Annotated[int | None, typer.Option("--seed", min=0, help="Of Stage 1's noise.")],
    "refiner_seed": Annotated[int | None, typer.Option("--refiner-seed", min=0, help="Of the refiner's noise.")],
    "refine": Annotated[
        bool | None, typer.Option("--refine/--no-refine", help="Whether the refiner runs; the preset says.")
    ],
    "intrinsics": Annotated[
        str | None, typer.Option("--intrinsics", help="fx,fy,cx,cy in pixels of the picture, or a .npy.")
    ],
    "fov_deg": Annotated[
        float | None, typer.Option("--fov-deg", min=1, max=179, help="What the picture shows from left to right.")
    ],
    "model_root": Annotated[Path | None, typer.Option("--model-root", help="Folder of the SANA-WM weights.")],
    "gemma_root": Annotated[Path | None, typer.Option("--gemma-root", help="Folder of gemma-2-2b-it.")],
    "refiner_root": Annotated[Path | None, typer.Option("--refiner-root", help="Folder of the refiner.")],
    "depth_pro_root": Annotated[Path | None, typer.Option("--depth-pro-root", help="Folder of Depth Pro.")],
    "overlay": Annotated[
        bool | None, typer.Option("--overlay/--no-overlay", help="Draw the held keys and a joystick.")
    ],
    "frames_dir": Annotated[Path | None, typer.Option("--frames-dir", help="Write the frames as PNG, too.")],
    "cap_gib": Annotated[
        float | None, typer.Option("--cap-gib", min=0.1, help="The most memory that a stage may use, in GiB.")
    ],
    "out": Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; runs/NAME if left out.")],
}


def takes_video_request(*, without: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a video: they reach it as one `VideoRequest`, its parameter `said`.

    Stands below `@app.command`. The other parameters stay what they are, and come last in `--help`.

    Args:
        without: Attributes of `VideoRequest` that the command does not take, or takes by an option of its own.
    """

    def give(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for name, one in signature.parameters.items() if name != "said"]
        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in VIDEO_OPTIONS.items()
            if name not in without
        ]

        @functools.wraps(command)
        def called(**given: Any) -> None:
            values = {one.name: given.pop(one.name) for one in added}
            command(**given, said=parse_video_request(values))

        parameters = [*added, *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own)]
        called.__dict__["__signature__"] = signature.replace(parameters=parameters)
        called.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
        return called

    return give


def parse_video_request(given: dict[str, Any]) -> VideoRequest:
    """What the options say.

    Raises:
        UsageError: One of them is not usable, or two say the same thing.
    """
    from sana_wm.cli.camera import known_dialect

    if (dialect := given.get("dialect")) is not None:
        given["dialect"] = known_dialect(dialect, "--dialect")
    given["intrinsics"] = parse_intrinsics(given.get("intrinsics"))
    given["crop"] = parse_crop(given.get("crop"))
    given["size"] = parse_size(given.get("size"))
    said = VideoRequest(**given)
    said.refuse_contradictions()
    return said


def parse_intrinsics(text: str | None) -> tuple[float, ...] | Path | None:
    """`fx,fy,cx,cy` as numbers, a `.npy` as its path.

    Raises:
        UsageError: It is neither.
    """
    if text is None or text.endswith(".npy"):
        return text if text is None else Path(text)
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise UsageError("--intrinsics is not usable", got=repr(text), expected="fx,fy,cx,cy or a .npy file")
    return numbers
