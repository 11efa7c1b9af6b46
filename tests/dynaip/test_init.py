"""The public names, and that they cost nothing before they are used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import dynaip


def test_public_names_are_listed() -> None:
    assert {"DynaIP", "Reference", "load", "register", "__version__"} <= set(dir(dynaip))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Dynaip'"):
        _ = dynaip.Dynaip


def test_importing_dynaip_imports_nothing_heavy() -> None:
    code = "import sys, dynaip\nassert not {'torch', 'pydantic', 'PIL', 'pluggy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_load_is_the_function_in_any_order_of_imports() -> None:
    code = (
        "import sys, types\n"
        "module = types.ModuleType('dynaip.load')\n"
        "module.load = lambda: 'loaded'\n"
        "import dynaip\n"
        "sys.modules['dynaip.load'] = module\n"
        "dynaip.load = module\n"  # what importing the submodule does
        "assert dynaip.load() == 'loaded'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "code",
    [
        "from dynaip import DynaIP, Reference, load, register",
        "import dynaip\ndynaip.load('microworld')",
        "from dynaip.registry import registry\n"
        "for each in registry().components(): registry().target(each.component.kind, each.qualified)",
    ],
)
def test_others_warn_of_nothing_when_we_import_them(code: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        environment.pop(name, None)
    code += "\nimport logging\nlogging.getLogger('others').warning('heard')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    lines = [line for line in done.stderr.replace("\r", "\n").splitlines() if line and "Loading " not in line]
    assert (done.stdout, lines) == ("", ["heard"])
