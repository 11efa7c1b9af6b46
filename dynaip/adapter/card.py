"""Model cards: what an adapter was made of, how it was trained, what it was measured at, and whose licences apply."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dynaip.adapter.files import describe
from dynaip.adapter.parts import Adapter
from dynaip.atomic import write_text
from dynaip.config.yaml_text import dump, read
from dynaip.runs import Run

LICENCES = {
    "black-forest-labs/FLUX.1-dev": "FLUX.1 [dev] Non-Commercial License",
    "black-forest-labs/FLUX.1-Krea-dev": "FLUX.1 [dev] Non-Commercial License",
    "black-forest-labs/FLUX.1-Kontext-dev": "FLUX.1 [dev] Non-Commercial License",
    "black-forest-labs/FLUX.1-schnell": "Apache-2.0",
    "black-forest-labs/FLUX.2-dev": "FLUX [dev] Non-Commercial License",
    "stabilityai/stable-diffusion-3": "Stability AI Community License",
    "Qwen/Qwen-Image": "Apache-2.0",
    "openai/clip-vit": "MIT",
    "google/siglip": "Apache-2.0",
    "facebook/dinov2": "Apache-2.0",
    "facebook/dinov3": "DINOv3 License",
}
"""Beginning of a hub id -> licence, as its page stated when this version was made."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def model_card(adapter: Adapter, run: Path | None = None) -> str:
    """Write README.md for the hub: parts, licences, and what the run folder tells of training and scores."""
    about = describe(adapter)
    base, encoder = (str(about[part].get("model", "")) for part in ("backbone", "encoder"))
    front: dict[str, Any] = {
        "library_name": "dynaip",
        "pipeline_tag": "text-to-image",
        "tags": ["dynaip", "ip-adapter"],
    }
    if is_hub_id(base):
        front |= {"base_model": base, "base_model_relation": "adapter"}
    parts = [
        f"---\n{dump(front)}---",
        "# DynaIP adapter",
        f"An image-prompt adapter for **{base or about['backbone']['use']}**; references are read by "
        f"**{encoder or about['encoder']['use']}**. {about['parameters']:,} parameters.",
        _usage(),
        "## Licences",
        "\n".join(_licence(role, name) for role, name in (("base model", base), ("encoder", encoder))),
        "## Parts",
        _code({part: about[part] for part in ("backbone", "encoder", "fusion", "decoupling", "adapter")}),
        *_training(run),
        *_scores(run),
        *(f"![{figure.stem}](figures/{name})" for name, figure in figures(run).items()),
    ]
    return "\n\n".join(parts) + "\n"


def is_hub_id(name: str) -> bool:
    """Whether a model's name is a hub id and not a folder here."""
    return bool(HUB_ID.fullmatch(name)) and not Path(name).exists()


def _usage() -> str:
    return (
        "```python\nfrom dynaip import DynaIP, Reference\n\ndyna = DynaIP.from_pretrained(REPO).attach(pipe)\n"
        "with dyna.references(Reference('subject.png')):\n    image = pipe(prompt).images[0]\n```"
    )


def _licence(role: str, name: str) -> str:
    known = next((licence for start, licence in LICENCES.items() if name.startswith(start)), None)
    told = known or "not known here"
    where = f" ([its page](https://huggingface.co/{name}) has the terms)" if is_hub_id(name) else ""
    return f"- {role} `{name or 'none named'}`: {told}{where}. Its terms also bind what is made with this adapter."


def _code(data: Mapping[str, Any]) -> str:
    return f"```yaml\n{dump(data)}```"


def _training(run: Path | None) -> Iterator[str]:
    """The training section of the run's config, and its data."""
    file = Run(run).config if run else None
    if file is None or not file.is_file():
        yield "## Training"
        yield "The training configuration is not at hand: these weights did not come from a run folder."
        return
    config = read(file)
    yield "## Training"
    yield _code({part: config[part] for part in ("source", "training") if part in config})


def _scores(run: Path | None) -> Iterator[str]:
    """Means of the run's scores by suite, as a table."""
    file = run / "scores.parquet" if run else None
    if file is None or not file.is_file():
        yield "## Scores"
        yield "No scores are at hand: `dynaip evaluate RUN` measures."
        return
    from dynaip.reading import frame
    from dynaip.scores import summary

    means = summary(frame(file))
    rows = [[str(name) for name in means.columns], ["---"] * len(means.columns)]
    rows += [[_shown(value) for value in row] for row in means.itertuples(index=False)]
    yield "## Scores"
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def figures(run: Path | None) -> dict[str, Path]:
    """Pictures of the run's analyses, by a name of their own."""
    folder = run / "analysis" if run else None
    if folder is None or not folder.is_dir():
        return {}
    return {"-".join(file.relative_to(folder).parts): file for file in sorted(folder.rglob("*.png"))}


def write_card(adapter: Adapter, folder: Path, *, run: Path | None = None, card: str | None = None) -> None:
    """Put README.md and the figures that it shows into the adapter's folder."""
    write_text(folder / "README.md", card or model_card(adapter, run))
    for name, figure in figures(run).items():
        (folder / "figures").mkdir(exist_ok=True)
        shutil.copyfile(figure, folder / "figures" / name)
