"""Shows an ablation while it runs: one bar a group of arms, read from the files that the workers write."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dynaip.ablation.folder import FINISHED, AblationFolder, ArmGroup
from dynaip.errors import InputError
from dynaip.quiet import hushed
from dynaip.reading import last_entry, read_mapping


@contextmanager
def watching(directory: Path) -> Generator[Callable[[str, str], None]]:
    """Draw bars until the context is left; it gives what ``ablate(on_change=...)`` should be told through."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[details]}"), TimeElapsedColumn())
    with Progress(*columns, disable=hushed()) as progress:
        tasks: dict[str, Any] = {}
        done = Event()

        def hear(name: str, what: str) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(_label(directory, name), total=1.0, details=what)
            progress.update(tasks[name], details=what, completed=1.0 if what in ("finished", "done") else None)
            if not progress.console.is_terminal and not hushed():
                progress.console.print(f"{_label(directory, name)}: {what}")

        def poll() -> None:
            while not done.wait(1.0):
                for name, task in list(tasks.items()):
                    if not progress.tasks[task].finished:
                        with suppress(InputError):  # a file that is being damaged is no reason to stop looking
                            share, details = progress_of(directory, name)
                            progress.update(task, completed=share, details=details)

        watcher = Thread(target=poll, daemon=True)
        watcher.start()
        try:
            yield hear
        finally:
            done.set()
            watcher.join()


def _label(directory: Path, name: str) -> str:
    arms = read_mapping(AblationFolder(directory).group(name)).get("arms", [])
    return ", ".join(str(arm["name"]) for arm in arms) or name


def progress_of(directory: Path, name: str) -> tuple[float, str]:
    """How far a group is (0 to 1), and in words."""
    folder = AblationFolder(directory)
    group = ArmGroup.read(folder.group(name))
    finished = sum(folder.arm(arm.folder).state() == FINISHED for arm in group.arms)
    steps = group.steps or 0
    last = last_entry(folder.training(str(group.training)).metrics) if steps else {}
    step = found if isinstance(found := last.get("step"), int) else 0
    loss = found if isinstance(found := last.get("loss"), float) else None
    share = (step / steps * 0.8 if steps else 0.0) + (0.2 if steps else 1.0) * finished / max(len(group.arms), 1)
    if steps and step < steps:
        return share, f"step {step}/{steps}" + (f", loss {loss:.3f}" if loss is not None else "")
    return share, f"{finished}/{len(group.arms)} arms evaluated"
