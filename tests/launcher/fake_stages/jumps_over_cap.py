"""Takes far more than the cap at once."""

import time

hoard = b"x" * 600_000_000
time.sleep(60)
