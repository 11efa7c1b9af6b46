"""The report's section on the router."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.errors import InputError
from dynaip.report.section import AnalysisRequest, SectionContent
from dynaip.report.tables import Row, read_rows
from dynaip_analysis.sections.base import Chosen, RunSection
from dynaip_analysis.sections.config import RoutingConfig

if TYPE_CHECKING:
    from PIL import Image

    from dynaip_analysis.workbench import Workbench


class RoutingSection(RunSection[RoutingConfig]):
    """Router weights over reference patches and on average."""

    name = "routing"
    runs = 2
    generates = False

    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw routing for the chosen arms; give the figures."""
        from dynaip_analysis import routing
        from dynaip_analysis.workbench import Workbench

        summaries: dict[str, Any] = {}
        paths: list[Path] = []
        levels: list[str] = []
        for each in chosen:
            bench = Workbench.open(each.run)
            images = self._images(bench, request)
            weights = _weights(bench, images)
            if weights is None:
                continue
            grid = bench.dyna.encoder.grid
            weights = routing.patches(weights, grid) if weights.ndim == 3 else weights
            levels = list(bench.dyna.encoder.levels)
            summary = summaries[each.label] = routing.summarise(weights)
            if not paths and weights.ndim == 3:
                shown = self.config.shown
                paths.append(routing.draw(out / "routing.png", images[:shown], weights[:shown], levels, grid, summary))
        if not summaries:
            raise InputError(f"{' and '.join(each.label for each in chosen)}: the fusion has no router")
        return [*paths, routing.draw_summary(out / "routing-summary.png", summaries, levels)]

    def _images(self, bench: Workbench, request: AnalysisRequest) -> list[Image.Image]:
        from dynaip.images import load_image

        if request.reference:
            return [load_image(request.reference)]
        cases = bench.cases(self.config.suite, self.config.cases, request.seed)
        return [case.references[0].image for case in cases]

    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Say what the tables of routing show, beside its figures."""
        rows = read_rows(out / "routing-summary.parquet")
        figures = [
            (out / "routing.png", f"Weight of each level for every patch of some references, by {chosen[0].words()}."),
            (out / "routing-summary.png", "Mean weights over all references, and how much they depend on the patch."),
        ]
        tables = [("Summary of the router", out / "routing-summary.parquet")]
        return SectionContent("What the router does", " ".join(_sentences(rows)), figures, tables)


def _weights(bench: Workbench, images: Sequence[Image.Image]) -> Any:
    import torch

    with torch.no_grad():
        fused = bench.dyna.fuse(bench.dyna.features(images))
    return None if fused.weights is None else fused.weights.double().cpu().numpy()


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
            f"{share:.0%} of what is possible: {_verdict(share)}."
        )
    return sentences


def _verdict(share: float) -> str:
    if share < 0.02:
        return "nearly the same mixture for every patch"
    return "the mixture depends a little on the patch" if share < 0.2 else "patches are routed apart"
