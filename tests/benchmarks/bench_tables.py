"""What a filtered table of a million rows takes until its first pair is there, in a process of its own; nothing fails here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.benchmarks.bench_times import ROOT

ROWS = 1_000_000
LOOK = """
import json, sys, time
from pathlib import Path
from dynaip.config import ComponentSpec
from dynaip.registry import registry
from dynaip.training.fingerprint import fingerprint
def peak():
    # MB of this program alone: ru_maxrss is that of the one that started it, too.
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000
ready, memory = time.process_time(), peak()
options = {"use": "table", "files": sys.argv[1], "where": "score >= 3.5 and kind == 'good'", "width": 64}
source = registry().build(ComponentSpec.parse("source", options))
pairs = len(source)
known = len(fingerprint(source))
assert source[pairs // 2].target.size == (64, 64)
print(json.dumps({"pairs": pairs, "known": known, "seconds": time.process_time() - ready, "before": memory, "peak": peak()}))
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    chance, folder = np.random.default_rng(0), tmp_path_factory.mktemp("tables")
    for name in ("a", "b"):
        Image.new("RGB", (64, 64), "red").save(folder / f"{name}.png")
    found = pd.DataFrame({
        "target": "a.png", "reference": "b.png", "prompt": [f"a corgi number {row} on a beach" for row in range(ROWS)],
        "score": chance.uniform(1, 5, ROWS).round(3), "kind": chance.choice(["good", "poor"], ROWS),
    })  # fmt: skip
    return folder, found


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "json"])
def test_a_million_rows(tables: tuple[Path, pd.DataFrame], kind: str) -> None:
    folder, rows = tables
    file = folder / f"rows.{kind}"
    if kind == "parquet":
        rows.to_parquet(file)
    elif kind == "csv":
        rows.to_csv(file, index=False)
    else:
        rows.to_json(file, orient="records", lines=kind == "jsonl")
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "plugins", ROOT / "analysis")))
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(file)], env=os.environ | {"PYTHONPATH": paths, "DYNAIP_DATA": str(folder / "kept")},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    expected = int(((rows["score"] >= 3.5) & (rows["kind"] == "good")).sum())
    assert told["pairs"] == expected
    size = file.stat().st_size / 1e6
    print(f"\n{kind}, {size:.0f} MB: {told['seconds']:.1f} s of the processor until the first of {expected} pairs; peak "
          f"{told['peak']:.0f} MB, {told['before']:.0f} of them before it")  # fmt: skip
