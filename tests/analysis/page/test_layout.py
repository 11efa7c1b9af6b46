"""The page in a browser: boxes, sliders, wrong input, a hostile prompt, two visitors, on a screen and on a phone."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dynaip.setting import PictureRecord

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
    pytest.mark.skipif(find_spec("gradio") is None, reason='gradio is not installed: pip install "dynaip[ui]"'),
    pytest.mark.skipif(
        find_spec("playwright") is None, reason='playwright is not installed: pip install "dynaip[browser]"'
    ),
]
HOSTILE = 'a star <img src=x onerror="document.title=1"><script>document.title=2</script>'
STEPS = "#steps :is(input, textarea)"
SLOW = 180_000
"""Milliseconds: the machine may be busy."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    from dynaip_analysis.page.layout import serve
    from dynaip_analysis.page.studio import Studio

    folder = tmp_path_factory.mktemp("page")
    page, address = serve(Studio.open("microworld", folder), "127.0.0.1", None)
    yield address, folder
    page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def opened(browser: Any, address: str, width: int = 1400) -> tuple[Any, list[str]]:
    page = browser.new_context(viewport={"width": width, "height": 1000}).new_page()
    page.set_default_timeout(SLOW)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#canvas canvas")
    return page, asked


def paint(page: Any, prompt: str, folder: Path, steps: str = "1") -> Path:
    """Fill in a prompt, paint, and wait for the new picture."""
    before = set((folder / "pictures").glob("*.png"))
    page.fill("#prompt textarea", prompt)
    page.fill(STEPS, steps)
    page.click("#paint")
    page.wait_for_function("() => document.querySelector('#said textarea').value.startsWith('painted in')")
    (new,) = set((folder / "pictures").glob("*.png")) - before
    return new


def test_a_reference_with_a_box_is_painted_and_taken_along(
    served: tuple[str, Path], browser: Any, tmp_path: Path
) -> None:
    address, folder = served
    page, asked = opened(browser, address)
    Image.effect_noise((40, 40), 90).convert("RGB").save(tmp_path / "ref.png")
    page.set_input_files("#reference-1 input[type=file]", tmp_path / "ref.png")
    page.wait_for_selector("#reference-1 img")
    frame = page.locator("#canvas canvas").bounding_box()
    page.locator("#canvas canvas").scroll_into_view_if_needed()
    frame = page.locator("#canvas canvas").bounding_box()
    page.mouse.move(frame["x"] + 0.25 * frame["width"], frame["y"] + 0.1 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.75 * frame["width"], frame["y"] + 0.9 * frame["height"])
    page.mouse.up()
    setting = PictureRecord.read(paint(page, "a star", folder)).setting
    assert setting.references[0].region == pytest.approx((0.25, 0.1, 0.75, 0.9), abs=0.01)
    assert page.locator("#painted img").count() == 1
    assert "dynaip generate microworld 'a star' --ref" in page.input_value("#command textarea")
    assert {url.split("/")[2].split(":")[0] for url in asked if url.startswith("http")} == {"127.0.0.1"}

    page.fill("#prompt textarea", " ")
    page.click("#paint")
    page.wait_for_function("() => document.querySelector('#said textarea').value.startsWith('dynaip')")
    assert page.input_value("#said textarea") == "dynaip: the prompt is empty: say what to paint"

    page.select_option("#canvas select[name=tool]", "mask")
    page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 0.5 * frame["height"])
    page.mouse.down()
    page.mouse.up()
    masked = paint(page, "a heart", folder)
    assert str(PictureRecord.read(masked).setting.references[0].region).endswith(".png")
    page.click("#canvas button")
    page.get_by_role("tab", name="History").click()
    page.locator("#history .thumbnail-item").first.click()
    page.wait_for_function("() => document.querySelector('#said textarea').value.startsWith('the setting of')")
    assert page.input_value("#prompt textarea") == "a heart"
    page.get_by_role("tab", name="Paint", exact=True).click()
    again = paint(page, "a heart", folder)
    assert Image.open(again).tobytes() == Image.open(masked).tobytes()


def test_what_is_compared_or_on_a_grid_enters_the_history(served: tuple[str, Path], browser: Any) -> None:
    page, _ = opened(browser, served[0])
    page.fill("#prompt textarea", "a star")
    page.fill(STEPS, "1")
    page.get_by_role("tab", name="Compare").click()
    page.click("#keep")
    page.wait_for_function("() => document.querySelector('#said textarea').value.startsWith('kept')")
    page.click("#compare")
    page.wait_for_selector("#pair-1 img")
    page.get_by_role("tab", name="Grid").click()
    page.fill("#columns :is(input, textarea)", "5, 6")
    page.fill("#rows :is(input, textarea)", "1")
    page.click("#grid")
    page.wait_for_selector("#sheet img")
    page.get_by_role("tab", name="History").click()
    page.wait_for_function("() => document.querySelectorAll('#history .thumbnail-item').length == 4")
    page.locator("#history .thumbnail-item").first.click()
    page.wait_for_function("() => document.querySelector('#said textarea').value.startsWith('the setting of')")
    assert page.input_value("#seed input") == "6", "the last cell of the grid comes first"


def test_a_hostile_prompt_on_a_phone_and_another_visitor(served: tuple[str, Path], browser: Any) -> None:
    address, folder = served
    page, _ = opened(browser, address, 400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    other, _ = opened(browser, address)
    asked = PictureRecord.read(paint(page, HOSTILE, folder, steps="")).setting
    assert asked.prompt == HOSTILE
    assert asked.steps is None and asked.guidance is None, "what nobody filled in is the run's own"
    assert page.title() == "DynaIP: microworld"
    assert page.locator("#painted img").count() == 1 and other.locator("#painted img").count() == 0


def test_what_is_wrong_with_a_file_is_said_in_our_words(served: tuple[str, Path], browser: Any, tmp_path: Path) -> None:
    page, _ = opened(browser, served[0])
    (tmp_path / "words.png").write_text("no picture")
    page.set_input_files("#reference-1 input[type=file]", tmp_path / "words.png")
    page.wait_for_selector("#reference-1 img", state="attached")
    page.fill("#prompt textarea", "a star")
    page.click("#paint")
    page.wait_for_function("() => document.querySelector('#said textarea').value.startsWith('dynaip')")
    assert page.input_value("#said textarea").startswith("dynaip: words.png")


def test_no_file_outside_is_served(served: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = served
    Image.new("RGB", (4, 4)).save(tmp_path / "own.png")
    Image.new("RGB", (4, 4)).save(folder / "pictures" / "own.png")
    outside = [
        "/etc/passwd",
        str(tmp_path / "own.png"),
        str(folder / "pictures" / ".." / ".." / "x"),
        str(Path(__file__)),
    ]
    for name in outside:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}gradio_api/file={name}")
        assert refused.value.code in (403, 404), name
    found = urllib.request.urlopen(f"{address}gradio_api/file={folder / 'pictures' / 'own.png'}")
    assert found.status == 200 and "default-src 'self'" in found.headers["content-security-policy"]
