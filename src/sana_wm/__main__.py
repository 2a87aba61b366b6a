"""`python -m sana_wm`: the command line where the console script is not on the path."""

from sana_wm.cli import main

main()
