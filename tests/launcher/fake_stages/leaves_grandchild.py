"""Ends well and leaves a process of its own behind."""

import subprocess
import sys

import harness

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
harness.finish()
