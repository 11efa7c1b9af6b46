"""The template of a plugin package, installed for real: it is listed, it is checked, and it takes part in an ablation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dynaip.registry import registry
from tests.tiny_experiment import tiny_parts

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "plugins" / "template"
METRIC = '''
import numpy as np
from dynaip.config import ComponentConfig
from dynaip.contracts import Metric
from dynaip.registry import Component, hookimpl


class Nothing(ComponentConfig):
    """No options."""


class Colour(Metric):
    """Red and green of an image stand for CP and PF."""

    columns = ("cp", "pf")

    def __init__(self, config):
        pass

    def score(self, cases, images):
        means = [np.asarray(image, dtype=float).mean((0, 1)) / 255 for image in images]
        return [{"cp": float(mean[0]), "pf": float(mean[1])} for mean in means]


@hookimpl
def dynaip_components():
    return [Component("metric", "colour", Colour, Nothing)]
'''

SECTIONS = {entry.component.name for entry in registry().components("report_section")}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Install the template beside this checkout, and run a module in an environment that has it."""
    target = tmp_path_factory.mktemp("installed")
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", target, TEMPLATE]
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, install)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    paths = [target, ROOT, ROOT / "plugins", ROOT / "analysis"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}

    def start(*arguments: Any, cwd: Path = target) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", *map(str, arguments)]
        return subprocess.run(line, env=environment, cwd=cwd, capture_output=True, text=True)

    return start


def test_it_is_listed(run: Run) -> None:
    listed = json.loads(run("dynaip.cli", "plugins", "--json").stdout)
    brought = {
        (each["kind"], each["qualified"]) for each in listed["components"] if each["qualified"].startswith("acme:")
    }
    assert brought == {("fusion", "acme:gated"), ("encoder", "acme:patches"), ("decoupling", "acme:faded")}
    assert not listed["failures"]


def test_its_options_are_shown_and_checked(run: Run) -> None:
    assert "progress at which the text branch" in " ".join(
        run("dynaip.cli", "show", "decoupling", "faded").stdout.split()
    )
    done = run("dynaip.cli", "check", "microworld/dynaip", "-s", "fusion=gated", "-s", "fusion.hiden=3")
    assert done.returncode == 2
    assert "hidden" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_its_own_tests_pass(run: Run) -> None:
    done = run("pytest", "-q", "-p", "no:cacheprovider", TEMPLATE / "tests", cwd=TEMPLATE)
    assert done.returncode == 0, done.stdout


def test_it_takes_part_in_an_ablation(run: Run, tmp_path: Path, tiny_flux_folder: Path, tiny_clip_folder: Path) -> None:
    (tmp_path / "colour.py").write_text(METRIC)
    experiment = tiny_parts(tiny_flux_folder, tiny_clip_folder) | {
        "fusion": "concat",
        "source": {"use": "microworld", "size": 8, "pixels": 64},
        "training": {"steps": 2, "batch_size": 4, "checkpoint_every": 2},
        "evaluation": {
            "benchmark": {"use": "microworld", "single": 2},
            "suites": ["single"],
            "metrics": ["colour"],
            "options": {"num_inference_steps": 2},
        },
    }
    shared = {"fusion": "acme:gated", "encoder": "patches"}
    ablation = {
        "base": "base.yaml",
        "report": dict.fromkeys(SECTIONS - {"routing"}, False),
        "arms": [
            {"name": "plain", **shared},
            {"name": "faded", **shared, "decoupling": "faded"},
            {"name": "faded_late", **shared, "decoupling": {"use": "faded", "until": 1}},
        ],
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(experiment | {"plugins": ["colour.py"]}))
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(ablation | {"plugins": ["colour.py"]}))
    done = run("dynaip.cli", "ablate", "ablation.yaml", "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(results["arm"]) == {"plain", "faded", "faded_late"}
    assert results[["cp", "pf"]].notna().all(axis=None)
    assert (tmp_path / "out" / "analysis" / "routing.png").is_file(), "the report shows how its fusion routes"
    plan = yaml.safe_load((tmp_path / "out" / "plan.yaml").read_text())
    assert len({arm["training"] for arm in plan["arms"]}) == 1, "its policy asks for no training of its own"
    others = [{"name": "plain"}, {"name": "faded", "decoupling": "faded"}, {"name": "gated", "fusion": "acme:gated"}]
    (tmp_path / "others.yaml").write_text(yaml.safe_dump(ablation | {"arms": others}))
    assert "# 3 arms, seeds [0], 2 trainings" in run("dynaip.cli", "check", "others.yaml", cwd=tmp_path).stdout
