"""Lets a child of its own grow past the cap."""

import subprocess
import sys

subprocess.run([sys.executable, "-c", "import time; hoard = b'x' * 400_000_000; time.sleep(60)"], check=True)
