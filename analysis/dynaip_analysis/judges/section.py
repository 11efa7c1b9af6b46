"""The report's section on the judges: whether metrics agree with each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynaip.contracts.section import AnalysisRequest, SectionContent
from dynaip.errors import InputError
from dynaip.reading import Row, read_rows
from dynaip.report.directory import AblationDirectory
from dynaip_analysis.bench.section import Chosen, RunSection
from dynaip_analysis.judges.config import JudgesConfig


class JudgesSection(RunSection[JudgesConfig]):
    """Several metrics over the same images."""

    name = "judges"

    def _check(self, request: AnalysisRequest) -> None:
        super()._check(request)
        if request.reference is not None or request.labelled is not None:
            raise InputError("judges are compared on cases of the run's benchmark: leave --ref and --labelled out")

    def prepare(self, directory: Path) -> None:
        """Compare the judges on the scores of all arms; no model is needed."""
        from dynaip_analysis.judges import figures, measure
        from dynaip_analysis.judges.survival import survivals

        scores = AblationDirectory.read(directory).scores
        names = measure.judges_of(scores)
        out = directory / "analysis"
        self.forget(out)
        if len(names) < 2:
            return
        path = out / "judges.png"
        arms, differences = measure.verdicts(scores, names), survivals(scores, names)
        figures.draw(path, measure.agreements(scores, names), arms=arms, differences=differences)
        self.keep(out, [path], judges=names)

    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Score the same images against their own cases and against others'."""
        from dynaip_analysis.judges import figures, measure

        bench = self.bench(request.run)
        cases = self.cases(bench, request, self.config.cases)
        if len(cases) < 2:
            raise InputError(f"suite {self.config.suite} has one case, and judges are compared over several")
        made = bench.generate(cases)
        own, other = bench.score(cases, made), bench.score(measure.partners(cases), made)
        scores = [{"case": case.id, "suite": case.suite, **row} for case, row in zip(cases, own)]
        names = measure.judges_of(scores)
        if len(names) < 2:
            alone = names[0] if names else "no metric"
            raise InputError(
                f"{chosen[0].label} is scored by {alone} alone; name more under evaluation.metrics of its config"
            )
        known = measure.recognitions(own, other, names)
        return [figures.draw(out / "judges.png", measure.agreements(scores, names), known=known)]

    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Say where judges agree and where they do not."""
        table = out / "judges.parquet"
        figures = [(out / "judges.png", "Judges case by case, and over pairs of arms.")]
        return SectionContent("Whether the judges agree", _sentences(read_rows(table)), figures, [("Judges", table)])


def _sentences(rows: Sequence[Row]) -> str:
    from dynaip_analysis.judges.measure import told
    from dynaip_analysis.judges.survival import sentences

    pairs = [row for row in rows if row["what"] == "rank correlation" and row["value"] == row["value"]]
    parts: list[str] = []
    if pairs:
        most, least = (pick(pairs, key=lambda row: row["value"]) for pick in (max, min))
        parts.append(
            f"Case by case {told(most['judge'])} and {told(most['other'])} agree most (rank correlation {most['value']:.2f}), "
            f"{told(least['judge'])} and {told(least['other'])} least ({least['value']:.2f})."
        )
    for row in rows:
        if row["what"] == "order of arms" and row["opposed"]:
            parts.append(
                f"{told(row['judge'])} and {told(row['other'])} order {row['opposed']} of {row['pairs']} pairs of arms "
                f"the other way round ({row['alike']} alike)."
            )
    parts += sentences([row for row in rows if row["what"] == "difference"])
    return " ".join(parts).replace(" -", " −").replace("(-", "(−")
