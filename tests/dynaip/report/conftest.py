"""A small ablation directory in the layout that `dynaip ablate` leaves, written by hand."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from dynaip.report import view
from dynaip.report.build import build_report

ARMS = {"hmoe-dynamic": 0.45, "hmoe-coupled": 0.36, "concat-dynamic": 0.40, "concat-coupled": 0.33}
PROMPT = 'a star </script><script>document.title="taken"</script> "onerror=alert(1) <img src=x onerror=alert(2)>'
SUITES = {"single": 1, "multi2": 2}
CASES = 40


def write_ablation(root: Path, *, cases: int = CASES, prompt: str = PROMPT) -> Path:
    """Four arms, one of them in two seeds, a failed one and two baselines; scores with known means."""
    rng = np.random.default_rng(0)
    plan = {"name": "demo", "question": "Does <b>routing</b> help?", "report": {"sections": []}, "arms": []}
    entries = [(name, mean, False) for name, mean in ARMS.items()]
    entries += [("base", 0.12, True), ("microworld", 0.8, True)]
    _cases(root, rng, cases, prompt)
    for name, mean, baseline in entries:
        folder = f"{name}-0123456789ab"
        plan["arms"].append({"name": name, "folder": folder, "seed": 0, "baseline": baseline})
        _arm(root / "arms" / folder, rng, mean, cases, weights=name != "base", steps=9000 if baseline else 300)
    plan["arms"].append({"name": "broken", "folder": "broken-0123456789ab", "seed": 0, "baseline": False})
    broken = root / "arms" / "broken-0123456789ab"
    broken.mkdir(parents=True)
    (broken / "status.json").write_text(json.dumps({"state": "failed", "seconds": 3.2, "error": "out of <memory>"}))
    (root / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    (root / "timings.json").write_text(json.dumps({"trainings": {"aaa": 125.0}, "total": 754.0}))
    (root / "environment.json").write_text(json.dumps({"python": "3.11", "cpus": 2}))
    return root


def _cases(root: Path, rng: np.random.Generator, cases: int, prompt: str) -> None:
    rows = []
    for suite, subjects in SUITES.items():
        for k in range(cases):
            case = f"{suite}-{k:03d}"
            folder = root / "cases" / case
            folder.mkdir(parents=True)
            references = []
            for r in range(subjects):
                _noise(rng).save(folder / f"ref-{r}.png")
                region = [r / subjects, 0.0, (r + 1) / subjects, 1.0] if subjects > 1 else None
                references.append({"image": f"{case}/ref-{r}.png", "region": region})
            rows.append(
                {"case": case, "suite": suite, "prompt": prompt, "seed": k, "references": json.dumps(references)}
            )
    pq.write_table(pa.Table.from_pylist(rows), root / "cases" / "cases.parquet")


def _arm(folder: Path, rng: np.random.Generator, mean: float, cases: int, *, weights: bool, steps: int) -> None:
    rows = []
    for suite in SUITES:
        for k in range(cases):
            case = f"{suite}-{k:03d}"
            hard = np.random.default_rng(k).normal(0, 0.1)
            scores = {"cp": mean + hard + rng.normal(0, 0.03), "pf": 0.9 - hard / 4, "leak": rng.normal(0.05, 0.1)}
            scores["cp_emblem"] = scores["cp"] / 2
            rows.append({"case": case, "suite": suite, "seed": k, **scores})
            if k < 6 or k > cases - 4 or k % 5 == 0:
                (folder / "samples" / case).mkdir(parents=True)
                _noise(rng).save(folder / "samples" / case / f"{k}.png")
    pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")
    fusion, _, policy = folder.name.rsplit("-", 1)[0].partition("-")
    parts = {"fusion": {"use": f"builtin:{fusion}"}, "decoupling": {"use": f"builtin:{policy}"}} if policy else {}
    (folder / "config.yaml").write_text(yaml.safe_dump({**parts, "training": {"steps": steps}}))
    (folder / "status.json").write_text(
        json.dumps({"state": "finished", "seconds": 61.0, "error": "", "memory_gb": 1.5, "device": "cpu"})
    )
    if weights:
        (folder / "adapter").mkdir()
        _weights(folder / "adapter" / "adapter.safetensors")


def _weights(path: Path) -> None:
    header = {"w": {"dtype": "F32", "shape": [3, 5], "data_offsets": [0, 60]}, "__metadata__": {"format": "pt"}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(60))


def _noise(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))


@pytest.fixture(scope="session", autouse=True)
def planes_drawn_once() -> Iterator[None]:
    """Most pages here are of the same scores: a plane is a function of its points, and each is drawn once a session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(view, "draw", cache(view.draw))
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic ablation directory that tests only read."""
    return write_ablation(tmp_path_factory.mktemp("finished") / "demo")


@pytest.fixture(scope="session")
def html(finished: Path) -> str:
    """The page of that ablation, built once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_report(finished).read_text(encoding="utf-8")


@pytest.fixture
def ablation(tmp_path: Path) -> Path:
    """A synthetic ablation directory."""
    return write_ablation(tmp_path / "demo")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A synthetic ablation directory with few cases."""
    return write_ablation(tmp_path / "demo", cases=4)
