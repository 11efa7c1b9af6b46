"""A trained adapter on its pipeline, with the cases and metrics of its benchmark: what every analysis starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

import dynaip
from dynaip.adapter.attention import BRANCHES
from dynaip.adapter.model import DynaIP
from dynaip.adapter.words import tokens_of
from dynaip.config import ComponentSpec, EvaluationConfig, load_saved
from dynaip.contracts import Backbone, Benchmark, Case, CaseReference, Metric
from dynaip.errors import InputError
from dynaip.evaluation.generation import taken
from dynaip.evaluation.origin import origin
from dynaip.evaluation.scoring import build_metrics, score
from dynaip.images import load_image
from dynaip.models import local_folder
from dynaip.painting import batches, generate_cases
from dynaip.promises import check_cases
from dynaip.registry import registry
from dynaip.suggest import did_you_mean

SUITE = "user"
"""Suite of a case made from the user's own picture: nothing is known of it, so it is not scored."""


@dataclass(repr=False)
class Workbench:
    """One adapter, ready to generate."""

    name: str
    pipe: Any
    dyna: DynaIP
    backbone: Backbone
    evaluation: EvaluationConfig | None
    shelves: Sequence[Path] = ()
    """Folders of samples that evaluations have left."""

    @classmethod
    def open(cls, run: str) -> Workbench:
        """Load a RUN with its pipeline, and what it was evaluated with."""
        evaluation = evaluation_if_named(run)  # before minutes are spent on loading
        loaded = dynaip.load(run)
        return cls(Path(run).name, loaded.pipe, loaded.dyna, loaded.dyna.backbone, evaluation)

    def __repr__(self) -> str:
        return f"{self.name}: {type(self.pipe).__name__} with {self.dyna.summary()}"

    def cases(self, suite: str, count: int, seed: int = 0) -> list[Case]:
        """The first cases of a suite of the run's benchmark; a suite whose size is an option of it grows if it must."""
        if self.evaluation is None:
            raise InputError(
                f"{self.name} names no benchmark to take cases from; give a picture with --ref and a --prompt"
            )
        spec = self.evaluation.benchmark
        size = getattr(spec.config, suite, None)
        if isinstance(size, int) and size < count:
            spec = ComponentSpec(spec.kind, spec.use, spec.config.model_copy(update={suite: count}))
        benchmark: Benchmark = registry().build(spec)
        if suite not in benchmark.suites:
            hint = did_you_mean(suite, benchmark.suites)
            raise InputError(f"there is no suite {suite!r}; the benchmark has {', '.join(benchmark.suites)}.{hint}")
        return check_cases(f"benchmark {self.evaluation.benchmark.use}", suite, benchmark.cases(suite, seed=seed))[
            :count
        ]

    def columns(self) -> list[str]:
        """Names of the values that the run's metrics give."""
        return list(dict.fromkeys(name for metric in self.metrics for name in metric.columns))

    def case_of(self, reference: Path, prompt: str | None, seed: int) -> Case:
        """A case of the user's own picture."""
        return Case(SUITE, SUITE, prompt or "", (CaseReference(load_image(reference)),), seed)

    @property
    def batch_size(self) -> int:
        """Cases that one call of the pipeline generates."""
        return self.evaluation.batch_size if self.evaluation else 8

    def batches(self, cases: Sequence[Case], most: int | None = None) -> Iterator[list[Case]]:
        """Cases that one call of the pipeline generates together, in order: of one size and one number of references."""
        return batches(cases, min(self.batch_size, most or self.batch_size))

    @property
    def every_branch(self) -> str | None:
        """The policy through every branch at once; None (the adapter's own) where only one branch was trained."""
        return "coupled" if all(self.dyna.attention.serves(branch) for branch in BRANCHES) else None

    def generate(
        self,
        cases: Sequence[Case],
        *,
        decoupling: Any = None,
        granularity: Mapping[str, float] | None = None,
        bare: bool = False,
        options: Mapping[str, Any] | None = None,
        anew: bool = True,
    ) -> list[Image.Image]:
        """Generate cases as an evaluation does; ``bare`` leaves the references out, ``options`` go before the run's own.

        Unless they are wanted ``anew`` (to record a generation, say), images are taken that an evaluation has painted from just
        the same; batches of another size may round in another way, by one grey level here and there.
        """
        if bare and (decoupling is not None or granularity):
            raise InputError(
                "bare leaves the references out: there is nothing that decoupling or granularity would change"
            )
        dyna, own = None if bare else self.dyna, self.evaluation.options if self.evaluation else {}
        given = {**own, **(options or {})}
        made: dict[int, Image.Image] = {}
        if not anew and self.shelves and self._plain(decoupling, granularity):
            told = origin(self.pipe, self.backbone, dyna, given)
            found = ((k, taken(self.shelves, case, told(case))) for k, case in enumerate(cases))
            made = {k: image for k, image in found if image is not None}
        left = [k for k in range(len(cases)) if k not in made]
        painted = generate_cases(
            self.pipe, self.backbone, [cases[k] for k in left], dyna=dyna, batch_size=self.batch_size, options=given,
            decoupling=decoupling, granularity=granularity,
        )  # fmt: skip
        made |= {k: image for k, (_, image) in zip(left, painted, strict=True)}
        return [made[k] for k in range(len(cases))]

    def _plain(self, decoupling: Any, granularity: Mapping[str, float] | None) -> bool:
        """Whether this is what an evaluation paints with: the adapter's own policy, and every level as it is routed."""
        own, named = self.dyna.specs.decoupling, isinstance(decoupling, str)
        policy = decoupling is None or (named and ComponentSpec.parse("decoupling", decoupling, "decoupling") == own)
        return policy and all(value == 1 for value in (granularity or {}).values())

    @cached_property
    def metrics(self) -> list[Metric]:
        """The metrics of the run, built once: they may hold models, and a sweep scores dozens of times."""
        return build_metrics(self.evaluation) if self.evaluation else []

    def score(self, cases: Sequence[Case], images: Sequence[Image.Image]) -> list[dict[str, float]]:
        """One row a case with the columns of all metrics, as an evaluation names them; nothing for the user's own pictures."""
        if self.evaluation is None or any(case.suite == SUITE for case in cases):
            return []
        table = score(self.evaluation, cases, images, self.metrics).drop(columns=["case", "suite", "seed"])
        return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]

    def words(self, prompt: str) -> list[str]:
        """The text tokens of a prompt, without padding, as the text encoder that makes them cuts them."""
        return tokens_of(self.backbone, self.pipe, prompt)


def evaluation_if_named(run: str) -> EvaluationConfig | None:
    """What a run is evaluated with; None for one that does not say it, such as an imported adapter."""
    file = local_folder(run, "adapter") / "config.yaml"
    return load_saved(file).evaluation if file.is_file() else None
