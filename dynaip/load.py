"""A ready pipeline with its adapter, by one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.adapter.files import BESIDE_PIPELINE, saved_beside
from dynaip.adapter.model import DynaIP
from dynaip.adapter.reference import Reference
from dynaip.config import ComponentSpec
from dynaip.device import choose, load_on
from dynaip.models import local_folder
from dynaip.registry import registry


@dataclass(frozen=True, repr=False)
class Loaded:
    """A pipeline and the adapter on it; ``pipe, dyna = dynaip.load(...)`` unpacks it."""

    pipe: Any
    dyna: DynaIP

    def __iter__(self) -> Iterator[Any]:
        return iter((self.pipe, self.dyna))

    def __repr__(self) -> str:
        return f"{type(self.pipe).__name__} with {self.dyna.summary()}"

    def generate(
        self,
        prompt: str,
        *references: Reference,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        granularity: Mapping[str, float] | None = None,
        decoupling: str | None = None,
        **options: Any,
    ) -> Image.Image:
        """Paint one image of (height, width) pixels with the references; ``options`` go to the pipeline's call."""
        with self.dyna.references(*references, granularity=granularity, decoupling=decoupling):
            return self.dyna.backbone.generate(self.pipe, [prompt], seeds=[seed], size=size, **options)[0]


def load(
    name: str | Path = "microworld", *, device: Any = "auto", dtype: Any = None, revision: str | None = None,
    attention_backend: str | None = None,
) -> Loaded:  # fmt: skip
    """Load a trained adapter and the pipeline that it was trained for, attached to each other.

    ``name`` is a run folder, a pipeline folder that was saved with an adapter attached, the bundle ``microworld``, or a hub
    id (of which ``revision`` names a branch, tag or commit). ``device`` is one by name, or ``auto``, and ``DYNAIP_OFFLOAD``
    says whether parts that are not at work leave it (``dynaip/device.py``); ``dtype`` None takes float32 on a CPU and
    bfloat16 elsewhere. ``attention_backend`` is set for base and references alike. Adapters that were saved beside the
    first one are attached, too: ``DynaIP.all_on(pipe)``.
    """
    where = choose(device)
    dyna = DynaIP.from_pretrained(name, revision=revision)
    backbone = dyna.backbone
    folder = local_folder(name, "adapter", revision=revision)
    further: list[Path] = []
    if (folder / BESIDE_PIPELINE).is_dir() and (folder / "model_index.json").is_file():
        spec = dyna.specs.backbone
        here = spec.config.model_copy(update={"model": str(folder)})
        backbone = registry().build(ComponentSpec(spec.kind, spec.use, here))
        further = saved_beside(folder / BESIDE_PIPELINE)
    pipe = load_on(backbone, where, dtype)
    dyna.attach(pipe, attention_backend=attention_backend)
    for each in further:
        DynaIP.from_pretrained(each).attach(pipe, beside=True)
    return Loaded(pipe, dyna)
