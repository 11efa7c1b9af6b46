"""The page of a study: one file that holds all, sends nothing, and works from a disk or on a phone; its key lies beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from PIL import Image

from dynaip.atomic import write_json, write_text
from dynaip.errors import InputError
from dynaip.images import load_image
from dynaip.study.design import QUESTIONS, Asked, Matchup

SIZE = 512
"""Longer side of the pictures on the page."""
LARGEST = 60_000_000
"""Letters of a page that a phone still opens."""


def key_of(page: Path) -> Path:
    """Where the key of a page lies."""
    return page.with_suffix(".key.json")


def write_study(path: Path, pairs: Sequence[Matchup], asked: Sequence[Asked], title: str, seed: int = 0) -> Path:
    """Write the page and its key (which arm is which), and give the key's path.

    Raises ``InputError`` if a case has no picture that it is about, or the page would be too large.
    """
    pictures = _Pictures()
    shown = [_shown(pair, asked, pictures, seed) for pair in pairs]
    study = hashlib.sha256(json.dumps([shown, pictures.found], sort_keys=True).encode()).hexdigest()[:12]
    questions = {name: asdict(QUESTIONS[name]) for name in asked}
    data = {"study": study, "questions": questions, "pairs": shown, "images": pictures.found}
    script, style = (_file(name) for name in ("study.js", "study.css"))
    template = Environment(loader=PackageLoader("dynaip.study", "files"), autoescape=True).get_template("study.html")
    text = template.render(
        title=title, data=Markup(_inert(data)), script=Markup(script), style=Markup(style),
        script_digest=_digest(script), style_digest=_digest(style),
    )  # fmt: skip
    if len(text) > LARGEST:
        raise InputError(
            f"{path} would have {len(text) / 1e6:.0f} MB, and phones open {LARGEST / 1e6:.0f}: lower --pairs"
        )
    write_text(path, text)
    key = {
        "study": study,
        "title": title,
        "questions": list(asked),
        "pairs": {
            pair.id: {"a": pair.a, "b": pair.b, "case": pair.case.id, "suite": pair.case.suite, "check": pair.check}
            for pair in pairs
        },
    }
    write_json(key_of(path), key)
    return key_of(path)


class _Pictures:
    """Pictures of the page, each of them once."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, image: Image.Image) -> int:
        """Its number."""
        image = image.convert("RGB")
        image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        image.save(buffer, "WEBP", quality=90) if max(image.size) > 256 else image.save(buffer, "PNG")
        kind = "webp" if max(image.size) > 256 else "png"
        text = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
        if text not in self._known:
            self._known[text] = len(self.found)
            self.found.append(text)
        return self._known[text]


def _shown(pair: Matchup, asked: Sequence[Asked], pictures: _Pictures, seed: int) -> dict[str, Any]:
    """A pair as the page has it: nothing in it says which arm is which. A check is asked once, with the first question."""
    own = load_image(pair.picture_a)
    other = load_image(pair.picture_b) if pair.picture_b else _noise(own.size, seed, pair.id)
    references = [load_image(each.image) for each in pair.case.references if each.image]
    return {
        "id": pair.id,
        "prompt": pair.case.prompt,
        "references": [pictures.add(image) for image in references],
        "a": pictures.add(own),
        "b": pictures.add(other),
        "questions": list(asked[:1] if pair.check else asked),
    }


def _noise(size: tuple[int, int], seed: int, name: str) -> Image.Image:
    rng = np.random.default_rng([seed, *name.encode()])
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def _inert(value: Any) -> str:
    """JSON that ends no script element, whatever a prompt holds."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _file(name: str) -> str:
    return files("dynaip.study").joinpath("files", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
