"""Errors with a plain message. The command line prints them as one line and exits with their code."""

from __future__ import annotations

from typing import Any

RESUME_ME = 75
"""Exit code of work that was asked to stop and saved (EX_TEMPFAIL): start it again with ``--resume``."""


class DynaIPError(Exception):
    """A failure of ours or of an arm; the command line exits with 1."""

    exit_code = 1


class InputError(DynaIPError):
    """Something the user gave cannot be used; the message says what to change. The command line exits with 2."""

    exit_code = 2
    complaints: tuple[Any, ...] = ()
    """What is wrong with a config, one by one; the message has a line for each."""


class ConfigError(InputError):
    """A config value is wrong; the message names file, YAML path, what is allowed and the nearest option."""


class UnknownComponent(InputError):
    """No (or more than one) component of that kind and name; the message lists what there is."""


class MissingDependency(InputError):
    """A component needs a package that is not installed; the message has the line that installs it."""


class MismatchError(InputError):
    """Adapter and model (or checkpoint and config) do not fit; the message names the field and both values."""


class NotFinite(DynaIPError):
    """What the model painted holds values that are not finite (NaN or infinite); it is no picture and never saved as one."""


class BadSample(DynaIPError):
    """A sample of a dataset cannot be used; the message is the reason. Loaders quarantine it."""


class PluginError(InputError):
    """A plugin raised while it was imported, listed or built; the message names plugin, stage and cause."""


class ArmFailed(DynaIPError):
    """Arms of an ablation have no scores; the message has a line for each, with the log that says more."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in the place of a traceback, which would tell of the reader, not of the arm."""
        return [str(self)]


class Interrupted(DynaIPError):
    """A training or an ablation was asked to stop (SIGTERM); what is done is saved, and it can be resumed."""

    exit_code = RESUME_ME
