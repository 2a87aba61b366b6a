"""Still loads libraries: it has not set up what takes a stop signal."""

import time

import harness

harness.emit("starting")
time.sleep(120)
