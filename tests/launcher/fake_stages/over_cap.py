"""Grows past the cap slowly."""

import time

hoard = []
while True:
    hoard.append(b"x" * 20_000_000)
    time.sleep(0.05)
