"""Asks Depth Pro in a process of its own, on the CPU in float32: the same answer on every machine of a kind."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from sana_wm.errors import SanaWMError
from sana_wm.models.depth_pro import estimate_focal_lengths_px, load_depth_pro
from sana_wm.printing import spell_out_output
from sana_wm.video.picture import open_picture


def main() -> int:
    """Print `{"focal_lengths_px": […]}`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sana_wm.stages.intrinsics", description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        pixels = torch.from_numpy(np.array(open_picture(arguments.picture).image, dtype=np.float32) / 255.0).permute(
            2, 0, 1
        )
        with torch.inference_mode():
            focal_lengths_px = estimate_focal_lengths_px(load_depth_pro(arguments.weights), pixels)
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps({"focal_lengths_px": focal_lengths_px}) + "\n")
    return 0


if __name__ == "__main__":
    spell_out_output()
    sys.exit(main())
