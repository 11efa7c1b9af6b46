"""Keeps the chatter of other libraries out of what people read."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from dynaip.notes import to_stderr

QUIET = "DYNAIP_QUIET"
"""Environment variable that keeps bars and notes away; processes that we start inherit it."""


def quiet_libraries() -> None:
    """Keep the notes and bars of the libraries below us out of our own output."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for library in ("transformers", "diffusers"):  # whoever imported them earlier in this process
        verbosity = sys.modules.get(f"{library}.utils.logging")
        if verbosity is not None:
            verbosity.set_verbosity_error()
            verbosity.disable_progress_bar()
    # Diffusers imports torchao and bitsandbytes wherever they are installed, whether anything asks for them or not.
    for name in ("torchao", "bitsandbytes", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if not hushed():
        to_stderr()


def hushed() -> bool:
    """Whether a command was asked to be quiet: no bars, no notes, no lines that say what was written."""
    return bool(os.environ.get(QUIET))


@contextmanager
def hush() -> Generator[None]:
    """Keep bars, notes and such lines away inside, in processes that we start, too."""
    before = os.environ.get(QUIET)
    os.environ[QUIET] = "1"
    try:
        yield
    finally:
        os.environ.pop(QUIET)
        if before is not None:
            os.environ[QUIET] = before


@contextmanager
def quiet_imports() -> Generator[None]:
    """Keep warnings of other libraries' imports to themselves; whatever they warn of later is heard again."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def overheard(*libraries: str) -> Generator[list[str]]:
    """Collect what libraries warn of, instead of showing it: some of it is a fault that we have to tell ourselves."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    loggers = [logging.getLogger(name) for name in libraries]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers[:], logger.propagate = [Collector()], False
        logger.setLevel(logging.WARNING)
    try:
        yield lines
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers[:], logger.propagate = handlers, propagate
            logger.setLevel(level)
