"""The ``pagesight`` program: ``python -m pagesight`` and the script of the same name."""

import signal
import sys

from pagesight._pagesight import run


def main() -> int:
    """Runs the program with the arguments of this process; returns its exit code."""
    # The program has its own ways: Ctrl-C ends a query at once and a run of indexing after its
    # batch. Python's handler would be heard only when the program is over.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run(["pagesight", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
