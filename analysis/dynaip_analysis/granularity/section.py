"""The report's section on granularity."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.contracts.section import AnalysisRequest, SectionContent
from dynaip.errors import ConfigError, InputError
from dynaip.notes import tell
from dynaip.reading import read_rows
from dynaip_analysis.bench.section import Chosen, RunSection
from dynaip_analysis.granularity.config import GranularityConfig

if TYPE_CHECKING:
    from PIL import Image

    from dynaip.contracts import Case
    from dynaip_analysis.bench.labels import Labelled
    from dynaip_analysis.bench.workbench import Workbench
    from dynaip_analysis.granularity.measure import GammaSweep, Setting

logger = logging.getLogger(__name__)


class GranularitySection(RunSection[GranularityConfig]):
    """The same cases under other fusion coefficients."""

    name = "granularity"
    effort = 3
    identities = 5

    def __init__(self, config: GranularityConfig) -> None:
        super().__init__(config)
        self._made: dict[tuple[Any, ...], tuple[list[Image.Image], list[dict[str, Any]]]] = {}

    def analyse(self, request: AnalysisRequest) -> Sequence[Path]:
        """Look into one run; only at the encoder's layers if nothing can be generated, and say why."""
        self._check(request)
        bench = self.bench(request.run)
        why = _not_steered(bench, request)
        if not why:
            return super().analyse(request)
        labelled = self._labelled(bench, request)
        if labelled is None:
            raise InputError(why)
        logger.warning("only the layers of the encoder are looked at: %s", why)
        return self._layers(bench, labelled, request.out)

    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw granularity for the chosen arms; give the figures."""
        from dynaip_analysis.drawing import canvas
        from dynaip_analysis.granularity import figures, measure

        bench = self.bench(request.run)
        cases = self.cases(bench, request, self.config.cases)
        measure.check_steering(bench.dyna)
        settings = measure.settings(list(bench.dyna.encoder.levels), self.config.gammas)
        sweep = self._sweep(bench, cases, settings)
        paths = [figures.draw_strip(out / "granularity.png", sweep)]
        if canvas.metric_names(sweep.scores):
            return [*paths, figures.draw_attributes(out / "granularity-attributes.png", sweep)]
        if sweep.scores:
            tell("no metric of the run gives a number for these cases: nothing but pictures is drawn")
        return paths

    def look_closer(self, chosen: Chosen, out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw scores over each coefficient, and what every layer of the encoder holds."""
        from dynaip_analysis.drawing import canvas
        from dynaip_analysis.granularity import figures, measure

        bench = self.bench(chosen.run)
        paths: list[Path] = []
        if request.reference is None:
            settings = measure.curves(list(bench.dyna.encoder.levels), self.config.curve)
            sweep = self._sweep(bench, self.cases(bench, request, self.config.cases), settings)
            paths = (
                [figures.draw_curves(out / "granularity-curves.png", sweep)]
                if canvas.metric_names(sweep.scores)
                else []
            )
        labelled = self._labelled(bench, request)
        if labelled is None and not request.reference:
            tell("the benchmark knows no factors of its references: the encoder's layers are not probed")
        return [*paths, *self._layers(bench, labelled, out)] if labelled else paths

    def _sweep(self, bench: Workbench, cases: Sequence[Case], settings: Sequence[Setting]) -> GammaSweep:
        """Generate and score the cases under every setting; a setting of another sweep is not generated again."""
        from dynaip_analysis.granularity.measure import GammaSweep

        images: dict[str, list[Image.Image]] = {}
        scores: list[dict[str, Any]] = []
        for setting in settings:
            key = (id(bench), tuple(case.id for case in cases), *setting.coefficients.items())
            if key not in self._made:
                bare = not any(setting.coefficients.values())
                wanted = None if bare else setting.coefficients
                made = bench.generate(cases, granularity=wanted, bare=bare, anew=False)
                self._made[key] = made[: self.config.shown], bench.score(cases, made)
            images[setting.name], found = self._made[key]
            scores += [
                {"setting": setting.name, "case": case.id, **row} for case, row in zip(cases, found, strict=bool(found))
            ]
        shown = cases[: self.config.shown]
        references = [case.references[0].image for case in shown]
        return GammaSweep(settings, references, [case.prompt for case in shown], images, scores)

    def _labelled(self, bench: Workbench, request: AnalysisRequest) -> Labelled | None:
        """The user's labelled pictures, or what the benchmark knows of its references; None if that is nothing."""
        from dynaip_analysis.bench.labels import at_most, labelled_cases, labelled_folder, labelled_subjects

        if request.labelled:
            return at_most(labelled_folder(request.labelled), self.config.probed, request.seed)
        if request.reference:
            return None
        cases = bench.cases(self.config.suite, self.config.probed, request.seed)
        return labelled_cases(cases, bench.columns()) or labelled_subjects(cases)

    def _layers(self, bench: Workbench, labelled: Labelled, out: Path) -> list[Path]:
        """Probes, similarity, neighbours, pixels and colours of every layer."""
        from dynaip_analysis.bench.labels import require_identities, varied_first
        from dynaip_analysis.bench.seen import as_seen
        from dynaip_analysis.granularity import layer_figures
        from dynaip_analysis.granularity.layers import every_layer, held_out, read_layers

        require_identities(labelled, self.identities)
        labelled = varied_first(labelled)
        encoder, levels = every_layer(bench.dyna), bench.dyna.encoder.levels
        shown = min(self.config.shown, len(labelled.images))
        readings = read_layers(encoder, labelled.images, held_out(labelled.groups), shown)
        serving = {str(layer): level for level, layer in levels.items() if str(layer) in readings}
        layers = layer_figures.Layers(readings, labelled, serving)
        images = [as_seen(encoder, image) for image in labelled.images[:shown]]
        paths = [
            layer_figures.draw_layers(out / "granularity-layers.png", layers),
            layer_figures.draw_colours(out / "granularity-colours.png", images, layers),
            layer_figures.draw_neighbours(out / "granularity-neighbours.png", layers, shown),
        ]
        probes = layers.probes()
        if not any(probes.values()):
            tell("no factor can be probed: each needs two values in two identities")
        else:
            paths.append(layer_figures.draw_probes(out / "granularity-probes.png", layers, probes))
        return paths

    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Say what the tables of granularity show, beside its figures."""
        figures = [
            (
                out / "granularity.png",
                "Columns are settings: as routed, one level alone, levels weighed up; no reference.",
            )
        ]
        table = out / "granularity-attributes.parquet"
        figures.append(
            (out / "granularity-attributes.png", "Means over all cases of the sweep with their 95 % intervals.")
        )
        lead = f"Generated by {chosen[0].words()}; only the coefficients of the fusion change. "
        scores = [row for row in read_rows(table) if row["metric"] == "cp"]
        alone = [f"{row['setting']} {row['value']:.2f}" for row in scores if str(row["setting"]).endswith(" alone")]
        for row in scores if alone else ():
            if row["setting"] == "as routed":
                lead += f"CP is {row['value']:.2f} as routed, and with one level: {', '.join(alone)} ({row['cases']} cases)."
        return SectionContent("What each level preserves", lead, figures, [("Means with 95 % intervals", table)])


def _not_steered(bench: Workbench, request: AnalysisRequest) -> str:
    """Why no coefficients can be swept; nothing if they can."""
    from dynaip_analysis.granularity.measure import check_steering

    if bench.evaluation is None and request.reference is None:
        return f"{bench.name} names no benchmark to take cases from; give a picture with --ref and a --prompt"
    try:
        check_steering(bench.dyna)
    except ConfigError as error:
        return str(error)
    return ""
