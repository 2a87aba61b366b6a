"""What to do about a failed check, where several share it."""

from __future__ import annotations

UPDATE = (
    "Do not trust videos of this machine as it is: update macOS and torch to the newest releases and run "
    "`sana-wm doctor --numerics` again; if it still fails, report its table."
)
UNUSED = "Nothing: sana-wm does not compute it this way. Code of your own that does is wrong on this machine."
