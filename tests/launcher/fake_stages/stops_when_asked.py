"""Saves and leaves with 130 when asked to stop."""

import sys

import harness

harness.work_until_asked_to_stop()
harness.save()
sys.exit(130)
