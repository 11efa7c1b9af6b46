"""One section of a report: ``python -m dynaip.report DIRECTORY SECTION ANSWER [PLUGIN…]`` is what ``apart`` starts."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from dynaip.errors import Interrupted
from dynaip.signals import end_with_parent, interruptible


def main() -> int:
    """Prepare it, and write its state and notes into the file that is to hold the answer."""
    end_with_parent()
    # Ctrl-C reaches every process of a terminal: the one that started this one passes on what is to be done.
    signal.signal(signal.SIGINT, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    try:
        with interruptible():
            return _prepare(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    except Interrupted as error:
        return error.exit_code


def _prepare(directory: Path, name: str, answer: Path, plugins: list[str]) -> int:
    from dynaip.atomic import write_json
    from dynaip.notes import caught
    from dynaip.quiet import quiet_libraries
    from dynaip.registry import registry
    from dynaip.report.sections import prepare_section, wanted

    quiet_libraries()
    with caught() as notes:
        for file in plugins:
            registry().load_file(file)
        state = prepare_section(directory, name, dict(wanted(directory))[name])
    write_json(answer, {**state, "notes": notes})
    return 0


if __name__ == "__main__":
    sys.exit(main())
