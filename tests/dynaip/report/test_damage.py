"""Nothing leaves the report in silence, and nothing that a stranger's directory holds ends it, runs, or leads out of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from dynaip.errors import InputError
from dynaip.plain import plain
from dynaip.reading import read_rows
from dynaip.report.build import build_report

HOSTILE = [
    "<script>document.title='taken'</script>",
    '"onerror="alert(1)',
    "</script>",
    "\x1b[31mred\x00",
    "=cmd()|$\\frac{x$",
    "‮dlrow",
]


class Page(HTMLParser):
    """Tags, names of attributes, and what a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def built(directory: Path) -> tuple[str, str]:
    """The page, and what was said while it was built."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        html = build_report(directory).read_text(encoding="utf-8")
    return html, "\n".join(str(each.message) for each in heard)


ARM = "arms/hmoe-dynamic-0123456789ab"
OTHERS = ("timings.json", "environment.json", "cases/cases.parquet", f"{ARM}/status.json", f"{ARM}/scores.parquet")


@pytest.mark.parametrize("content", [b"[", b"\xff\xfe", b"- 1", b"[" * 3_000], ids=range(4))
@pytest.mark.parametrize("files", [("plan.yaml",), OTHERS], ids=["plan", "others"])
def test_any_damaged_file_is_named(small: Path, files: tuple[str, ...], content: bytes) -> None:
    for file in files:
        (small / file).write_bytes(content)
    html, said = built(small)
    assert "How to read this" in html
    for file in files:
        assert str(small / file) in unescape(html)
        assert str(small / file) in said


def test_damaged_and_missing_pictures_keep_their_place_and_are_told(small: Path) -> None:
    samples = small / "arms" / "hmoe-dynamic-0123456789ab" / "samples"
    first, second, *_ = sorted(samples.rglob("*.png"))
    first.write_bytes(first.read_bytes()[:-30])
    second.unlink()
    (small / "cases" / "single-001" / "ref-0.png").unlink()
    html, said = built(small)
    assert "no image: damaged" in html
    assert html.count("no image: missing") >= 2
    assert f"{samples} lacks 1 of 8 pictures, {second.parent.name} for one" in said
    assert f"{first} is damaged" in said


def test_entries_of_the_tables_that_cannot_be_read_are_counted(small: Path) -> None:
    plan = yaml.safe_load((small / "plan.yaml").read_text())
    plan["arms"] += [3, {"name": "nowhere"}, {"name": "outside", "folder": "../../secret"}]
    (small / "plan.yaml").write_text(yaml.safe_dump(plan))
    rows = read_rows(small / "cases" / "cases.parquet")
    pq.write_table(pa.Table.from_pylist([*rows, {**rows[0], "references": "{"}]), small / "cases" / "cases.parquet")
    html, said = built(small)
    assert "lists 3 arms that cannot be read" in said
    assert "holds 1 cases that cannot be read" in said
    assert "lists 3 arms that cannot be read" in html


def test_nothing_outside_the_directory_is_shown(small: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(small.parent / "secret.png")
    hidden = (small.parent / "secret.png").read_bytes()
    rows = read_rows(small / "cases" / "cases.parquet")
    for name in ("../../secret.png", str(small.parent / "secret.png")):
        changed = [row | {"references": json.dumps([{"image": name, "region": None}])} for row in rows]
        pq.write_table(pa.Table.from_pylist(changed), small / "cases" / "cases.parquet")
        html, _ = built(small)
        assert "no image: missing" in html
    assert hidden


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_appear_as_text(small: Path, text: str) -> None:
    plan = yaml.safe_load((small / "plan.yaml").read_text())
    plan |= {"name": text, "question": text}
    plan["arms"][0]["name"] = plan["arms"][1]["why"] = plan["arms"][4]["run"] = text
    (small / "plan.yaml").write_text(yaml.safe_dump(plan))
    folder = small / "arms" / "hmoe-dynamic-0123456789ab"
    rows = [row | {"suite": text, text: 0.5} for row in read_rows(folder / "scores.parquet")]
    pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")
    (small / "environment.json").write_text(json.dumps({text: text}))
    (small / "timings.json").write_text(json.dumps({"trainings": {text: text}, "total": text}))
    (small / "arms" / "broken-0123456789ab" / "status.json").write_text(
        json.dumps({"state": "failed", "error": text, "seconds": text})
    )
    html, _ = built(small)
    found = Page(html)
    assert "script" not in found.tags
    assert not any(name.startswith("on") for name in found.attributes)
    assert not {"\x1b", "\x00", "\u202e"} & set(html)
    assert found.text.count(plain(text)) >= 6
    table = (small / "summary.csv").read_text()
    assert not any(cell.startswith(("=", "@")) for line in table.splitlines() for cell in line.split(","))


def test_a_metric_of_ones_own_is_a_column_everywhere(small: Path) -> None:
    for folder in (small / "arms").iterdir():
        rows = [
            row | {"sharpness": 3.5 + k, "leak": None} for k, row in enumerate(read_rows(folder / "scores.parquet"))
        ]
        if rows:
            pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")
    html, _ = built(small)
    assert "<th>sharpness</th>" in html
    assert "leak" not in html
    rows = read_rows(small / "summary.csv")
    assert {row["metric"] for row in rows} == {"cp_pf", "cp", "pf", "cp_emblem", "sharpness"}
    mean = next(row["value"] for row in rows if row["metric"] == "sharpness" and row["suite"] == "single")
    assert mean == pytest.approx(3.5 + 1.5)


def test_scores_without_cp_and_pf_are_compared_by_their_first_metric(small: Path) -> None:
    for k, name in enumerate(("hmoe-dynamic", "concat-dynamic")):
        file = small / "arms" / f"{name}-0123456789ab" / "scores.parquet"
        rows = read_rows(file)
        kept = [
            {"case": row["case"], "suite": row["suite"], "seed": row["seed"], "clip": 0.2 + 0.1 * k} for row in rows
        ]
        pq.write_table(pa.Table.from_pylist(kept), file)
    for name in ("hmoe-coupled", "concat-coupled", "base", "microworld"):
        (small / "arms" / f"{name}-0123456789ab" / "scores.parquet").unlink()
    html, _ = built(small)
    assert "concat-dynamic has the highest clip" in html
    assert "clip by arm" in html
    assert "CP·PF by arm" not in html
    assert 'id="plane"' not in html


def test_a_plan_too_deep_is_one_line(tmp_path: Path) -> None:
    """Through the command, as people meet it; no arm is there to go on with."""
    (tmp_path / "plan.yaml").write_text("a: " + "[" * 5000)
    command = [sys.executable, "-m", "dynaip.cli", "report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "plan.yaml" in done.stderr
    with pytest.raises(InputError, match="holds no ablation"):
        build_report(tmp_path)


def test_a_strangers_directory_runs_nothing(small: Path) -> None:
    """Plugin files that its plan, its configs or its adapters name lie beside them, and stay unread."""
    mark = small / "mark"
    evil = small / "evil.py"
    evil.write_text(f"open({str(mark)!r}, 'w')")
    plan = yaml.safe_load((small / "plan.yaml").read_text()) | {
        "plugins": [str(evil), "evil.py"],
        "report": {"evil:x": {}},
    }
    (small / "plan.yaml").write_text(yaml.safe_dump(plan))
    for folder in (small / "arms").iterdir():
        (folder / "evil.py").write_text(evil.read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({"plugins": ["evil.py", str(evil)], "fusion": "evil:x"}))
        if (folder / "adapter").is_dir():
            (folder / "adapter" / "config.json").write_text(
                json.dumps({"plugins": [str(evil)], "fusion": {"use": "evil:x"}})
            )
    built(small)
    assert not mark.exists()


def test_an_arm_without_the_first_metric_keeps_its_row(small: Path) -> None:
    file = small / "arms" / "concat-coupled-0123456789ab" / "scores.parquet"
    rows = [{"case": row["case"], "suite": row["suite"], "seed": row["seed"], "clip": 0.25} for row in read_rows(file)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    html, _ = built(small)
    row = html[html.index('class="scroll"') :]
    row = row[row.index("concat-coupled</th>") :]
    row = row[: row.index("</tr>")]
    assert "0.250" in row
    assert "<td>–</td>" in row
    assert "nan" not in row
