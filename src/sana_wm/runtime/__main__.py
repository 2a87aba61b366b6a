"""`python -m sana_wm.runtime DEVICE`: the device as planning sees it, as JSON: the parent has no torch."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from sana_wm.errors import SanaWMError
from sana_wm.printing import spell_out_output
from sana_wm.runtime.device import describe_device, select_device

if __name__ == "__main__":
    spell_out_output()
    try:
        sys.stdout.write(json.dumps(asdict(describe_device(select_device(sys.argv[1])))) + "\n")
    except SanaWMError as error:
        sys.stderr.write(f"sana-wm: {error}\n")
        sys.exit(error.exit_code)
