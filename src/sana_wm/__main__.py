"""Entry point of the console script and of `python -m sana_wm`. Imports next to nothing itself."""

import signal


def main() -> None:
    """Import the command line and run it; until it is there, Ctrl-C ends the process without a traceback."""
    # What the parent of this process set to be ignored stays ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sana_wm.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
