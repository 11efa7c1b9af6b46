"""The page: contents, escaping, and that nothing outside the file is ever asked for."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader
from PIL import Image

from dynaip import reading
from dynaip.ablation.statistics import Estimate
from dynaip.errors import InputError
from dynaip.reading import read_rows
from dynaip.report.build import build_report
from dynaip.report.view import Look

pytestmark = pytest.mark.filterwarnings("ignore::dynaip.notes.Note")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """Tags, attributes and visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(directory: Path) -> tuple[str, Page]:
    html = build_report(directory).read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def built(html: str) -> tuple[str, Page]:
    """The page of a finished ablation."""
    return html, Page(html)


def test_contents(built: tuple[str, Page]) -> None:
    html, found = built
    text = " ".join(found.text.split())
    assert "hmoe-dynamic has the highest CP·PF" in text
    assert "the interval excludes zero" in text
    assert "Does <b>routing</b> help?" in text
    assert "The arm broken (seed 0) failed. Its last line: out of <memory>" in text
    assert "the base model without any reference: not trained here" in text
    assert "not trained here, trained for 9,000 steps" in text
    assert "2 min 5 s" in text
    assert "12 min 34 s" in text
    assert "3.11" in text
    assert (
        text.index("Does ") < text.index("highest CP·PF") < text.index("CP·PF by arm") < text.rindex("How to read this")
    )
    assert html.index('class="strip"') < html.index('id="answer"'), "pictures come first"
    assert html.count('class="strip"') == 1 + 8
    assert html.count('class="layout"') == 4


def test_table_agrees_with_the_tidy_file(built: tuple[str, Page], finished: Path) -> None:
    _, found = built
    rows = read_rows(finished / "summary.csv")
    wanted = next(r for r in rows if (r["suite"], r["arm"], r["metric"]) == ("multi2", "concat-dynamic", "cp_pf"))
    assert f"{wanted['value']:.3f}" in found.text
    assert f"{wanted['low']:.3f} to {wanted['high']:.3f}" in found.text
    assert wanted["cases"] == 40
    assert {row["arm"] for row in rows} >= {"base", "microworld"}


def test_prompts_appear_as_text(built: tuple[str, Page]) -> None:
    _, found = built
    tags = [tag for tag, _ in found.tags]
    assert "script" not in tags
    assert all(not name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert '</script><script>document.title="taken"</script> "onerror=alert(1)' in found.text


def test_policy_is_strict_and_the_style_matches_its_hash(built: tuple[str, Page]) -> None:
    html, found = built
    policy = next(a["content"] for tag, a in found.tags if tag == "meta" and "http-equiv" in a) or ""
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert all("style" not in attributes for _, attributes in found.tags)


def test_nothing_remote(built: tuple[str, Page]) -> None:
    html, found = built
    for tag, attributes in found.tags:
        for name in ("src", "srcset", "href", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value[:60])
    assert "url(" not in html
    assert "@import" not in html


def test_images_are_embedded_and_a_broken_one_is_said(built: tuple[str, Page], small: Path) -> None:
    assert built[0].count("data:image/png;base64,") > 40
    (next((small / "arms").glob("hmoe-dynamic-*")) / "samples" / "single-000" / "0.png").write_bytes(b"not an image")
    assert page(small)[0].count("no image:") == built[0].count("no image:") + 1


@pytest.mark.parametrize(
    "gone", ["plan.yaml", "cases", "timings.json", "environment.json", "arms", "arms/base-0123456789ab"]
)
def test_partial_directories(small: Path, gone: str) -> None:
    path = small / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    html, _ = page(small)
    assert "How to read this" in html


def test_a_directory_that_is_no_ablation(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no ablation"):
        build_report(tmp_path)


def test_rebuilding_needs_no_torch(small: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dynaip.report.build import build_report;"
        f"build_report(Path({str(small)!r}));"
        "bad = {'torch', 'diffusers', 'transformers'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_config_of_an_arm_is_read_a_few_times_whatever_the_page_shows(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once to see that it is whole, once for its own values and once beside its adapter: not for every suite and table."""
    read = Counter[Path]()
    real = reading.read_yaml
    monkeypatch.setattr(reading, "read_yaml", lambda path: read.update([path]) or real(path))
    build_report(finished, out=tmp_path)
    configs = [count for path, count in read.items() if path.name == "config.yaml"]
    assert configs
    assert max(configs) <= 3


def test_same_files_same_page(built: tuple[str, Page], finished: Path) -> None:
    assert page(finished)[0] == built[0]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser(built: tuple[str, Page], finished: Path, tmp_path: Path) -> None:
    """No prompt runs, and the page is drawn (its style passes its own policy) on a phone and on a desk."""
    report = finished / "report.html"
    dom = browse(report, tmp_path / "profile", 390, "--dump-dom")
    assert "<title>demo</title>" in dom
    assert "taken</title>" not in dom
    for width in (390, 1280):
        shot = tmp_path / f"{width}.png"
        browse(report, tmp_path / "profile", width, f"--screenshot={shot}")
        drawn = np.asarray(Image.open(shot).convert("RGB"))
        assert drawn.shape[1] == width
        assert _has(drawn, (0xEE, 0xF4, 0xF9)), "the answer stands on its tinted ground"


def _has(drawn: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(drawn.astype(int) - colour).max(axis=-1) <= 1).mean() > 0.02)


def browse(page: Path, profile: Path, width: int, *flags: str) -> str:
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    command = [str(CHROMIUM), "--headless", "--no-sandbox", *quiet, f"--user-data-dir={profile}"]
    command += [f"--window-size={width},2400", *flags, page.resolve().as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_an_interval_bar_ends_where_its_column_ends() -> None:
    environment = Environment(loader=PackageLoader("dynaip.report"))
    environment.filters |= {"figure": str}
    bar = environment.get_template("macros.html").module.bar
    drawn = Page(str(bar(Estimate(0.4, 0.2, 0.9, 10), Look(0, "#000", "o", True), (0.2, 0.6)))).tags
    [line] = [attrs for tag, attrs in drawn if tag == "line" and "class" not in attrs]
    assert float(line["x1"] or 0) == pytest.approx(7, abs=0.1)
    assert float(line["x2"] or 0) == 132


def test_a_report_that_cannot_be_written_is_one_line(small: Path) -> None:
    (small / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report.html is a folder, and a file has to be there"):
        build_report(small)
