"""A study from its pairs to its outcome: the page driven in a browser, the answers of simulated raters."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from dynaip.cli.app import main
from dynaip.errors import InputError
from dynaip.notes import Note
from dynaip.report.directory import AblationDirectory
from dynaip.study.analysis import outcomes, read_answers
from dynaip.study.design import arms_of, draw_pairs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROMPT = f"a </script><script>document.title='taken'</script> star{'fish' * 20}"
STRENGTHS = {"good": 1.0, "middle": 0.0, "bad": -1.0}


@pytest.fixture(scope="module")
def ablation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three arms with pictures of twelve cases; ``middle`` lacks one."""
    root, rng = tmp_path_factory.mktemp("ablation"), np.random.default_rng(0)
    plan = {"name": "demo", "arms": [{"name": name, "folder": name, "seed": 0} for name in STRENGTHS]}
    (root / "plan.yaml").write_text(yaml.safe_dump(plan))
    rows = []
    for k in range(12):
        (root / "cases" / f"case-{k}").mkdir(parents=True)
        picture(rng).save(root / "cases" / f"case-{k}" / "ref-0.png")
        references = json.dumps([{"image": f"case-{k}/ref-0.png", "region": None}] * 4)
        rows.append({"case": f"case-{k}", "suite": "single", "prompt": PROMPT, "seed": k, "references": references})
        for name in STRENGTHS:
            if (name, k) != ("middle", 0):
                path = root / "arms" / name / "samples" / f"case-{k}" / f"{k}.png"
                path.parent.mkdir(parents=True)
                picture(rng).save(path)
    pd.DataFrame(rows).to_parquet(root / "cases" / "cases.parquet")
    return root


def picture(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).resize((48, 48))


def test_pairs_are_even_and_blind(ablation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = AblationDirectory.read(ablation)
    pairs = draw_pairs(directory, arms_of(directory, []), 30, checks=2)
    real = [pair for pair in pairs if not pair.check]
    assert len(pairs) == 32
    assert set(Counter(frozenset((pair.a, pair.b)) for pair in real).values()) == {10}
    assert len({pair.id for pair in pairs}) == 32
    assert main(["study", str(ablation), "-o", str(tmp_path / "s.html"), "--pairs", "1000"]) == 0
    page = (tmp_path / "s.html").read_text()
    words = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert not any(name in words for name in ("middle", "bad", "arms/", "case-"))
    assert page.count("<script") == 2 and "http" not in words.replace("http-equiv", "")
    shown = capsys.readouterr().out
    assert "34 pairs, not 1000" in shown and "raters tell a preference of 55 to 45" in shown


def test_mistakes_are_lines(ablation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(ablation), "--arm", "goood"]) == 2
    assert "Did you mean good?" in capsys.readouterr().err
    assert main(["study", str(ablation), "--question", "beauty"]) == 2
    assert "choose of cp, pf, overall" in capsys.readouterr().err
    assert main(["study", str(tmp_path)]) == 2
    assert "two arms at least" in capsys.readouterr().err
    (tmp_path / "answers").mkdir()
    assert main(["study", str(tmp_path / "answers"), "--analyze"]) == 2
    assert "by --key" in capsys.readouterr().err


def answer(key: dict[str, Any], rater: int, rng: np.random.Generator) -> dict[str, Any]:
    """A rater who prefers arms as Bradley and Terry have it, and looks at checks."""
    answers = []
    for pair, about in key["pairs"].items():
        for question in key["questions"][: 1 if about["check"] else None]:
            gap = 9.0 if about["check"] else STRENGTHS[about["a"]] - STRENGTHS[about["b"]]
            choice = "a" if rng.uniform() < 1 / (1 + np.exp(-gap)) else "b"
            answers.append({"pair": pair, "question": question, "choice": choice, "swapped": False, "ms": 900})
    return {"study": key["study"], "rater": f"r{rater}", "seed": rater, "answers": answers}


def test_known_preferences_come_back(ablation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", str(ablation), "-o", str(tmp_path / "study.html"), "--pairs", "30"]) == 0
    key = json.loads((tmp_path / "study.key.json").read_text())
    rng, folder = np.random.default_rng(0), tmp_path / "answers"
    folder.mkdir()
    for rater in range(15):
        (folder / f"{rater}.json").write_text(json.dumps(answer(key, rater, rng)))
    lazy = answer(key, 99, rng)
    for each in lazy["answers"]:
        each["choice"] = "b"
    (folder / "lazy.json").write_text(json.dumps(lazy))
    (folder / "other.json").write_text(json.dumps({**answer(key, 98, rng), "study": "another"}))
    (folder / "again.json").write_text(json.dumps(answer(key, 3, rng)))
    (folder / "0.json").rename(folder / "0.TXT")
    (folder / "1.json").write_text((folder / "1.json").read_text(), encoding="utf-8-sig")
    odd = answer(key, 97, rng)["answers"]
    two_ways = [*odd, {**odd[0], "choice": "a" if odd[0]["choice"] == "b" else "b"}]
    for name, answers in (("none", []), ("word", "all"), ("two-ways", two_ways)):
        (folder / f"{name}.json").write_text(json.dumps({**answer(key, 97, rng), "answers": answers}))
    (folder / "letter.txt").write_text("Dear all")
    with pytest.warns(Note) as told:
        raters = read_answers(folder, key)
    lines = " ".join(str(each.message) for each in told)
    assert len(raters) == 15
    assert (
        lines.count("holds no answers") == 2
        and "answers one question in two ways" in lines
        and "letter.txt is damaged" in lines
    )
    assert "r99 answered 3 attention checks wrongly" in lines and "another study" in lines and "answered twice" in lines
    for found in outcomes(raters, key, draws=150):
        assert [each.arm for each in found.ranking.strengths] == ["good", "middle", "bad"]
        for each in found.ranking.strengths:
            assert each.low <= STRENGTHS[each.arm] <= each.high
        assert max(found.p_holm) < 0.05 and found.answers == 15 * 30
    assert main(["study", str(folder), "--analyze"]) == 0
    assert "good over bad" in capsys.readouterr().out
    assert len(json.loads((folder / "results.json").read_text())["outcomes"]) == 3


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_in_a_browser(ablation: Path, tmp_path: Path) -> None:
    """A rater at a desk by keys and one on a phone by touch: what they saw on the left is what their file says."""
    sync = pytest.importorskip(
        "playwright.sync_api", reason='playwright is not installed: pip install "dynaip[browser]"'
    )
    page_file = tmp_path / "study.html"
    given = ["--pairs", "2", "--checks", "1", "--question", "cp", "--question", "pf"]
    assert main(["study", str(ablation), "-o", str(page_file), *given]) == 0
    key = json.loads((tmp_path / "study.key.json").read_text())
    data = json.loads(page_file.read_text().partition('id="data">')[2].partition("</script>")[0])
    shown = {pair["id"]: pair for pair in data["pairs"]}
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        desk = drive(browser, page_file, data, {"viewport": {"width": 1280, "height": 800}}, touch=False)
        phone = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}
        hand = drive(browser, page_file, data, phone, touch=True)
        browser.close()
    for found, seen in (desk, hand):
        assert found["study"] == key["study"] and len(found["answers"]) == 2 * 2 + 1 == len(seen)
        for each, (left, side) in zip(found["answers"], seen, strict=True):
            pair = shown[each["pair"]]
            on_left = "a" if data["images"][pair["a"]] == left else "b"
            chosen = {"left": on_left, "right": {"a": "b", "b": "a"}[on_left], "tie": "tie"}[side]
            assert each["choice"] == chosen
    order = [[(each["pair"], each["question"]) for each in found["answers"]] for found, _ in (desk, hand)]
    assert order[0] != order[1] and sorted(order[0]) == sorted(order[1])
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "desk.json").write_text(json.dumps(desk[0]))
    assert read_answers(answers, key, missed=1)[0].rater == "<b>desk</b>"


def drive(browser: Any, file: Path, data: dict[str, Any], options: dict[str, Any], *, touch: bool) -> tuple[Any, Any]:
    """Answer all, with a step back and a reload on the way; give the file and what stood on the left with what was chosen."""
    context = browser.new_context(**options)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(file.resolve().as_uri())
    page.fill("#rater", "<b>hand</b>" if touch else "<b>desk</b>")
    page.click("#begin") if touch else page.press("#rater", "Enter")
    seen: list[tuple[str, str]] = []
    keys = {"left": "ArrowLeft", "right": "ArrowRight", "tie": "ArrowDown"}
    count = sum(len(pair["questions"]) for pair in data["pairs"])
    place = 0
    while place < count:
        assert page.inner_text("#place") == f"{place + 1} of {count}"
        side = ("left", "right", "tie")[(place + touch) % 3]
        seen.append((page.get_attribute("#left", "src"), side))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            "nothing lies beside the screen"
        )
        assert page.evaluate("document.getElementById('left').naturalWidth") > 0
        page.wait_for_timeout(180)
        if touch:
            page.tap("#tie" if side == "tie" else f"[data-side={side}]")
        else:
            page.keyboard.press(keys[side])
        place += 1
        if place == 3:
            page.wait_for_timeout(180)
            page.tap("#back") if touch else page.keyboard.press("Backspace")
            seen.pop()
            place -= 1
            page.reload()
            page.click("#begin")
            place += 10**6 if page.inner_text("#place") != f"3 of {count}" else 0
            seen.append((page.get_attribute("#left", "src"), "left"))
            page.wait_for_timeout(180)
            page.tap("[data-side=left]") if touch else page.keyboard.press("ArrowLeft")
            place += 1
    with page.expect_download() as download:
        page.click("#file") if touch else page.keyboard.press("Enter")
    found = json.loads(Path(download.value.path()).read_text())
    assert found == json.loads(page.input_value("#text"))
    assert page.title() == "demo: which picture is better?" and not errors, errors
    context.close()
    return found, seen


def test_who_stopped_early_counts_and_is_told(tmp_path: Path) -> None:
    pairs = {name: {"a": "x", "b": "y", "case": name, "check": name == "k"} for name in ("p", "q", "k")}
    key = {"study": "s", "pairs": pairs, "questions": ["cp"]}
    answers = [{"pair": "p", "question": "cp", "choice": "a"}]
    (tmp_path / "anna.json").write_text(json.dumps({"study": "s", "rater": "anna", "answers": answers}))
    with pytest.warns(Note) as told:
        assert len(read_answers(tmp_path, key)) == 1
    lines = " ".join(str(each.message) for each in told)
    assert "anna answered 1 of 2 questions; they count" in lines and "anna met no attention check" in lines


def test_nobody_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no answers"):
        read_answers(tmp_path, {"study": "x", "pairs": {}, "questions": []})
