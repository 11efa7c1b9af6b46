"""The public names, and that they cost nothing before they are used."""

from __future__ import annotations

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
