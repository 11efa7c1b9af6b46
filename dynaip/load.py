"""A ready pipeline with its adapter, by one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.adapter.files import BESIDE_PIPELINE, backbone_of, saved_beside
from dynaip.adapter.model import DynaIP
from dynaip.adapter.reference import Reference
from dynaip.device import choose, load_on
from dynaip.evaluation.runs import options_of
from dynaip.models import local_folder
from dynaip.painting import paint, tell_of_prompts
from dynaip.registry import registry


@dataclass(frozen=True, repr=False)
class Loaded:
    """A pipeline and the adapter on it; ``pipe, dyna = dynaip.load(...)`` unpacks it."""

    pipe: Any
    dyna: DynaIP
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Options of the pipeline's call that the run was evaluated with, such as steps and guidance."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.pipe, self.dyna))

    def __repr__(self) -> str:
        return f"{type(self.pipe).__name__} with {self.dyna.summary()}"

    @property
    def guidance(self) -> float | None:
        """Scale of classifier-free guidance that is taken where none is asked for; None where the pipeline does not say."""
        name = next(iter(self.dyna.backbone.guided(1.0)), "")
        parameter = signature(type(self.pipe).__call__).parameters.get(name)
        found = self.options.get(name, parameter.default if parameter else None)
        return float(found) if isinstance(found, (int, float)) else None

    def generate(
        self,
        prompt: str,
        *references: Reference,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        **options: Any,
    ) -> Image.Image:
        """Paint one image of (height, width) pixels as ``paint`` does."""
        return self.paint(prompt, *references, seeds=[seed], size=size, **options)[0]

    def paint(
        self,
        prompt: str,
        *references: Reference,
        seeds: Sequence[int],
        size: tuple[int, int] | None = None,
        granularity: Mapping[str, float] | None = None,
        decoupling: Any = None,
        layout: Any = None,
        subjects: Sequence[Any] | None = None,
        guidance: float | None = None,
        **options: Any,
    ) -> list[Image.Image]:
        """Paint an image a seed with the references, as the command line does: with the run's own options of generation.

        ``granularity``, ``decoupling``, ``layout`` and ``subjects`` are those of ``dyna.references``; ``guidance`` is the
        scale of classifier-free guidance; further ``options`` go to the pipeline's call and before the run's own (None
        leaves the run's own out). Raises ``InputError`` for a size that the model cannot paint or an option that it lacks.
        """
        guided = {} if guidance is None else self.dyna.backbone.guided(guidance)
        given = {"negative_prompt": guided.pop("negative_prompt", None), **self.options, **guided, **options}
        given = {name: value for name, value in given.items() if value is not None}
        tell_of_prompts(self.pipe, self.dyna.backbone, [prompt], given)
        return paint(
            self.pipe, self.dyna.backbone, [prompt] * len(seeds), seeds=seeds, size=size, dyna=self.dyna,
            references=references, options=given, granularity=granularity, decoupling=decoupling, layout=layout,
            subjects=subjects,
        )  # fmt: skip


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
    folder = local_folder(name, "adapter", revision=revision)
    options = options_of(folder)  # first: a run that cannot be read is refused before its models are loaded
    dyna = DynaIP.from_pretrained(name, revision=revision)
    spec = backbone_of(name, revision=revision)
    backbone = registry().build(spec) if spec != dyna.specs.backbone else dyna.backbone
    pipe = load_on(backbone, where, dtype)
    dyna.attach(pipe, attention_backend=attention_backend)
    for each in saved_beside(folder / BESIDE_PIPELINE):
        DynaIP.from_pretrained(each).attach(pipe, beside=True)
    return Loaded(pipe, dyna, options)
