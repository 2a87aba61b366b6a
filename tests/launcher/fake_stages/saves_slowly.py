"""Saves and leaves with 130 when asked to stop, which takes it two seconds."""

import sys
import time

import harness

harness.work_until_asked_to_stop()
time.sleep(2)
harness.save()
sys.exit(130)
