"""The report's section on the router."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.errors import InputError
from dynaip.report.section import AnalysisRequest, SectionContent
from dynaip.report.tables import Row, read_rows
from dynaip_analysis.sections.base import Chosen, RunSection
from dynaip_analysis.sections.config import RoutingConfig

if TYPE_CHECKING:
    from dynaip.contracts import Case
    from dynaip_analysis.routed import Routed
    from dynaip_analysis.workbench import Workbench


class RoutingSection(RunSection[RoutingConfig]):
    """Router weights over reference patches and on average."""

    name = "routing"
    runs = 2
    generates = False

    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw routing for the chosen arms; give the figures."""
        from dynaip_analysis import routing

        summaries: dict[str, Any] = {}
        paths: list[Path] = []
        levels: list[str] = []
        for each in chosen:
            bench = self.bench(each.run)
            cases = self.cases(bench, request, self.config.cases)
            found = self._routed(bench, cases)
            if found is None:
                continue
            levels = list(bench.dyna.encoder.levels)
            summary = summaries[each.label] = routing.summarise(found.weights)
            if not paths and found.weights.ndim == 3:
                shown = self.config.shown
                images = [case.references[0].image for case in cases[:shown]]
                weights, grid = found.weights[:shown], bench.dyna.encoder.grid
                paths.append(routing.draw(out / "routing.png", images, weights, levels, grid, summary))
        if not summaries:
            raise InputError(f"{' and '.join(each.label for each in chosen)}: the fusion has no router")
        return [*paths, routing.draw_summary(out / "routing-summary.png", summaries, levels)]

    def look_closer(self, chosen: Chosen, out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw which level and expert leads at each patch, and what the choice depends on."""
        from dynaip_analysis import routing_figures

        bench = self.bench(chosen.run)
        cases = self.cases(bench, request, self.config.cases)
        found = self._routed(bench, cases)
        levels, grid, shown = list(bench.dyna.encoder.levels), bench.dyna.encoder.grid, self.config.shown
        images = [case.references[0].image for case in cases[:shown]]
        paths: list[Path] = []
        if found is not None and found.weights.ndim == 3:
            leads = {"leading level": found.weights[:shown]}
            paths.append(routing_figures.draw_choice(out / "routing-choice.png", images, leads, levels, grid))
        if found is not None and found.experts is not None:
            paths.append(routing_figures.draw_experts(out / "routing-experts.png", found.experts, levels))
            gates = {f"experts of {level}": found.experts[:shown, :, k] for k, level in enumerate(levels)}
            names = [f"expert {e}" for e in range(found.experts.shape[-1])]
            path = out / "routing-expert-maps.png"
            paths.append(routing_figures.draw_choice(path, images, gates, names, grid, key="expert"))
        if found is not None and len(cases) > 1:
            paths.append(
                routing_figures.draw_dependence(out / "routing-dependence.png", _dependences(bench, cases, found))
            )
        return [*paths, *self._prompts(bench, cases, out)]

    def _prompts(self, bench: Workbench, cases: Sequence[Case], out: Path) -> list[Path]:
        """The same references under several prompts, where the router reads the prompt."""
        from dynaip_analysis import routing_figures
        from dynaip_analysis.routed import under_prompts

        prompts = list(dict.fromkeys(case.prompt for case in cases))[: self.config.prompts]
        if not getattr(bench.dyna.fusion, "uses_condition", False) or len(prompts) < 2:
            return []
        weights = under_prompts(bench, cases[: self.config.prompts], prompts)
        levels = list(bench.dyna.encoder.levels)
        return [routing_figures.draw_prompts(out / "routing-prompts.png", weights, prompts, levels)]

    def _routed(self, bench: Workbench, cases: Sequence[Case]) -> Routed | None:
        """Weights of the patches alone: a class token in front is dropped."""
        from dataclasses import replace

        from dynaip_analysis import routing
        from dynaip_analysis.routed import routed

        found = routed(bench, cases)
        if found is None or found.weights.ndim == 2:
            return found
        experts = None if found.experts is None else routing.patches(found.experts, bench.dyna.encoder.grid)
        return replace(found, weights=routing.patches(found.weights, bench.dyna.encoder.grid), experts=experts)

    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Say what the tables of routing show, beside its figures."""
        rows = read_rows(out / "routing-summary.parquet")
        figures = [
            (out / "routing.png", f"Weight of each level for every patch of some references, by {chosen[0].words()}."),
            (out / "routing-summary.png", "Mean weights over all references, and how much they depend on the patch."),
        ]
        tables = [("Summary of the router", out / "routing-summary.parquet")]
        return SectionContent("What the router does", " ".join(_sentences(rows)), figures, tables)


def _dependences(bench: Workbench, cases: Sequence[Case], found: Routed) -> Mapping[str, Any]:
    """Of levels, and of experts within each level: place of the patch, category, and every factor that the cases know."""
    from dynaip_analysis.dependence import dependences
    from dynaip_analysis.labels import codes, labelled_cases

    known = labelled_cases(cases)
    labels = dict(known.factors) if known else {}
    subjects = [case.references[0].subject for case in cases]
    if not labels and len(set(subjects)) > 1:
        labels = {"subject": codes(subjects)}
    parts = {"levels": dependences(found.weights, labels)}
    if found.experts is not None:
        for k, level in enumerate(bench.dyna.encoder.levels):
            parts[f"experts of {level}"] = dependences(found.experts[:, :, k], labels)
    return parts


def _sentences(rows: Sequence[Row]) -> list[str]:
    sentences: list[str] = []
    for adapter in dict.fromkeys(str(row["adapter"]) for row in rows):
        own = [row for row in rows if row["adapter"] == adapter]
        most = max(own, key=lambda row: float(row["mean"]))
        parts = ", ".join(f"{row['level']} {row['mean']:.2f}" for row in own)
        share = own[0]["mutual_information"] / math.log(len(own)) if len(own) > 1 else 0.0
        sentences.append(
            f"{adapter}: mean weights are {parts}; {most['level']} leads. "
            f"Knowing the patch tells {own[0]['mutual_information']:.3f} nats about its level, "
            f"{share:.0%} of what is possible: {_verdict(share)}.{_unused(own)}"
        )
    return sentences


def _unused(rows: Sequence[Row]) -> str:
    names = [str(row["level"]) for row in rows if row.get("dead")]
    return f" Hardly used: {', '.join(names)}; no patch prefers {'it' if len(names) == 1 else 'them'}." if names else ""


def _verdict(share: float) -> str:
    if share < 0.02:
        return "nearly the same mixture for every patch"
    return "the mixture depends a little on the patch" if share < 0.2 else "patches are routed apart"
