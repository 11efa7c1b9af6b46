"""One process of an ablation: ``python -m dynaip.ablation DIRECTORY GROUP`` is what executors run."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from dynaip.errors import Interrupted
from dynaip.signals import end_with_parent, interruptible


def main() -> int:
    """Do one group; the signals' rule holds before anything heavy is imported."""
    end_with_parent()
    # Ctrl-C reaches every process of a terminal: the work saves and ends as it does on SIGTERM.
    signal.signal(signal.SIGINT, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    try:
        with interruptible():
            from dynaip.ablation.worker import work
            from dynaip.quiet import quiet_libraries

            quiet_libraries()
            return work(Path(sys.argv[1]), sys.argv[2])
    except Interrupted as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
