"""In every process of a traced run: who parses, checks and hashes, and which files are handed a manifest."""

import atexit
import json
import os
import sys
from collections import Counter
from pathlib import Path

COUNTED = {"parse_manifest", "check_layout", "sha256_of"}
MANIFESTS = {"Manifest", "RunManifest", "Prospect"}

if folder := os.environ.get("STRUCTURE_NOTES"):
    calls = Counter()
    hashed = []
    manifest_files = set()

    def note(frame, event, _argument):
        code = frame.f_code
        if event != "call" or "sana_wm" not in code.co_filename:
            return
        if code.co_name in COUNTED:
            calls[code.co_name] += 1
            if code.co_name == "sha256_of":
                hashed.append(str(frame.f_locals[code.co_varnames[0]]))
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(type(frame.f_locals.get(name)).__name__ in MANIFESTS for name in names):
            manifest_files.add(code.co_filename.rpartition("/sana_wm/")[2])

    def write():
        sys.setprofile(None)
        notes = {
            "module": " ".join(sys.orig_argv),
            "arguments": sys.argv[1:],
            "calls": calls,
            "hashed": hashed,
            "manifest_files": sorted(manifest_files),
        }
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(notes))

    atexit.register(write)
    sys.setprofile(note)
