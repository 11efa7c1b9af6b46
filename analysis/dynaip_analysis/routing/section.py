"""The report's section on the router."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.contracts.section import AnalysisRequest, SectionContent
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.reading import Row, read_rows
from dynaip_analysis.bench.section import Chosen, RunSection
from dynaip_analysis.routing.config import RoutingConfig

if TYPE_CHECKING:
    from PIL import Image

    from dynaip.contracts import Case
    from dynaip_analysis.bench.labels import Ints
    from dynaip_analysis.bench.workbench import Workbench
    from dynaip_analysis.routing.routed import Routed


class RoutingSection(RunSection[RoutingConfig]):
    """Router weights over reference patches and on average."""

    name = "routing"
    runs = 2
    generates = False

    def __init__(self, config: RoutingConfig) -> None:
        super().__init__(config)
        self._looked: dict[str, Looked] = {}

    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw routing for the chosen arms; give the figures."""
        from dynaip_analysis.routing import figures, measure

        summaries: dict[str, Any] = {}
        paths: list[Path] = []
        levels: dict[str, list[str]] = {}
        for each in chosen:
            looked = self._look(each.run, request)
            found = looked.found
            if found is None:
                tell(f"{each.label} has no router: it is left out")
                continue
            names = levels[each.label] = list(looked.bench.dyna.encoder.levels)
            summary = summaries[each.label] = measure.summarise(found.weights, looked.groups)
            if not paths and found.weights.ndim == 3:
                grid = looked.bench.dyna.encoder.grid
                weights = found.weights[looked.shown]
                paths.append(figures.draw(out / "routing.png", looked.images, weights, names, grid, summary))
        if not summaries:
            raise InputError(f"{' and '.join(each.label for each in chosen)}: the fusion has no router")
        return [*paths, figures.draw_summary(out / "routing-summary.png", summaries, levels)]

    def look_closer(self, chosen: Chosen, out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw which level and expert leads at each patch, and what the choice depends on."""
        from dynaip_analysis.routing import figures

        looked = self._look(chosen.run, request)
        found, images, shown = looked.found, looked.images, looked.shown
        levels, grid = list(looked.bench.dyna.encoder.levels), looked.bench.dyna.encoder.grid
        paths: list[Path] = []
        if found is not None and found.weights.ndim == 3 and len(levels) > 1:
            leads = {"leading level": found.weights[shown]}
            paths.append(figures.draw_choice(out / "routing-choice.png", images, leads, levels, grid))
        if found is not None and found.experts is not None:
            path = out / "routing-experts.png"
            paths.append(figures.draw_experts(path, found.experts, levels, looked.groups))
            gates = {f"experts of {level}": found.experts[shown][:, :, k] for k, level in enumerate(levels)}
            names = [f"expert {e}" for e in range(found.experts.shape[-1])]
            path = out / "routing-expert-maps.png"
            paths.append(figures.draw_choice(path, images, gates, names, grid, key="expert"))
        if found is not None and len(looked.cases) > 1:
            parts = {name: each for name, each in _dependences(looked, found).items() if each}
            if parts:
                paths.append(figures.draw_dependence(out / "routing-dependence.png", parts))
        return [*paths, *self._prompts(looked, out)]

    def _prompts(self, looked: Looked, out: Path) -> list[Path]:
        """The same references under several prompts, where the router reads the prompt."""
        from dynaip_analysis.routing import figures
        from dynaip_analysis.routing.routed import under_prompts

        bench, count = looked.bench, self.config.prompts
        prompts = list(dict.fromkeys(case.prompt for case in looked.cases))[:count]
        if not getattr(bench.dyna.fusion, "uses_condition", False) or len(prompts) < 2:
            return []
        chosen = looked.distinct(count)
        weights = under_prompts(bench, [looked.cases[k] for k in chosen], prompts)
        path, groups = out / "routing-prompts.png", looked.groups[chosen]
        return [figures.draw_prompts(path, weights, prompts, list(bench.dyna.encoder.levels), groups)]

    def _look(self, run: str, request: AnalysisRequest) -> Looked:
        """What the router of a RUN chose for the cases, looked at once."""
        if run not in self._looked:
            bench = self.bench(run)
            cases, labels, groups = self._known(bench, request)
            self._looked[run] = Looked(bench, cases, labels, groups, _routed(bench, cases), self.config.shown)
        return self._looked[run]

    def _known(self, bench: Workbench, request: AnalysisRequest) -> tuple[list[Case], Mapping[str, Ints], Ints]:
        """Cases with every factor that is known of their references, and which of them show one identity."""
        from dynaip.contracts import Case, CaseReference
        from dynaip_analysis.bench.labels import codes, labelled_cases, labelled_folder, pictures_of
        from dynaip_analysis.bench.workbench import SUITE

        if request.labelled and not request.reference:
            labelled = labelled_folder(request.labelled)
            prompt = request.prompt or ""
            parts = [(CaseReference(image),) for image in labelled.images]
            return (
                [Case(str(k), SUITE, prompt, one, k) for k, one in enumerate(parts)],
                labelled.factors,
                labelled.groups,
            )
        cases = self.cases(bench, request, self.config.cases)
        if known := labelled_cases(cases, [] if request.reference else bench.columns()):
            return cases, known.factors, known.groups
        subjects = [case.references[0].subject for case in cases]
        labels = {"subject": codes(subjects)} if len(set(subjects)) > 1 else {}
        return cases, labels, pictures_of(cases)

    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Say what the tables of routing show, beside its figures."""
        rows = read_rows(out / "routing-summary.parquet")
        figures = [
            (out / "routing.png", f"Weight of each level for every patch of some references, by {chosen[0].words()}."),
            (out / "routing-summary.png", "Mean weights over all references, and how much they depend on the patch."),
        ]
        tables = [("Summary of the router", out / "routing-summary.parquet")]
        known = {str(row["adapter"]) for row in rows}
        without = [f"{each.label} has no router." for each in chosen if rows and each.label not in known]
        return SectionContent("What the router does", " ".join([*_sentences(rows), *without]), figures, tables)


@dataclass(frozen=True)
class Looked:
    """What the router of one adapter chose."""

    bench: Workbench
    cases: Sequence[Case]
    labels: Mapping[str, Ints]
    """Factor -> index of its value, one a case."""
    groups: Ints
    """Cases that show one identity share a number."""
    found: Routed | None
    """None if the fusion has no router."""
    most: int
    """References that are drawn."""

    def distinct(self, count: int) -> list[int]:
        """The first cases with different pictures."""
        from dynaip_analysis.bench.labels import pictures_of

        first: dict[int, int] = {}
        for k, picture in enumerate(pictures_of(self.cases)):
            first.setdefault(int(picture), k)
        return list(first.values())[:count]

    @cached_property
    def shown(self) -> list[int]:
        """Cases whose maps are drawn."""
        return self.distinct(self.most)

    @property
    def images(self) -> list[Image.Image]:
        """Their references, as the encoder sees them."""
        from dynaip_analysis.bench.seen import as_seen

        return [as_seen(self.bench.dyna.encoder, self.cases[k].references[0].image) for k in self.shown]


def _routed(bench: Workbench, cases: Sequence[Case]) -> Routed | None:
    """Weights of the patches alone: a class token in front is dropped."""
    from dynaip_analysis.routing import measure
    from dynaip_analysis.routing.routed import routed

    found = routed(bench, cases)
    if found is None:
        return None
    grid = bench.dyna.encoder.grid
    weights = found.weights if found.weights.ndim == 2 else measure.patches(found.weights, grid)
    experts = None if found.experts is None else measure.patches(found.experts, grid)
    return replace(found, weights=weights, experts=experts)


def _dependences(looked: Looked, found: Routed) -> Mapping[str, Any]:
    """Of levels, and of experts within each level: place of the patch, and every factor that the cases know."""
    from dynaip_analysis.routing.dependence import dependences

    encoder = looked.bench.dyna.encoder
    parts = {"levels": found.weights} if len(encoder.levels) > 1 else {}
    if found.experts is not None:
        parts |= {f"experts of {level}": found.experts[:, :, k] for k, level in enumerate(encoder.levels)}
    return {name: dependences(weights, looked.labels, encoder.grid, looked.groups) for name, weights in parts.items()}


def _sentences(rows: Sequence[Row]) -> list[str]:
    sentences: list[str] = []
    for adapter in dict.fromkeys(str(row["adapter"]) for row in rows):
        own = [row for row in rows if row["adapter"] == adapter]
        most = max(own, key=lambda row: float(row["mean"]))
        parts = ", ".join(f"{row['level']} {row['mean']:.2f}" for row in own)
        share = own[0]["mutual_information"] / math.log(len(own)) if len(own) > 1 else 0.0
        verdict = (
            "nearly the same mixture for every patch" if share < 0.02
            else "the mixture depends a little on the patch" if share < 0.2
            else "patches are routed apart"
        )  # fmt: skip
        dead = [str(row["level"]) for row in own if row.get("dead")]
        it = "it" if len(dead) == 1 else "them"
        unused = f" Hardly used: {', '.join(dead)}; no patch prefers {it}." if dead else ""
        sentences.append(
            f"{adapter}: mean weights are {parts}; {most['level']} leads. "
            f"Knowing the patch tells {own[0]['mutual_information']:.3f} nats about its level, "
            f"{share:.0%} of what is possible: {verdict}.{unused}"
        )
    return sentences
