"""The report's section on decoupling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.contracts.section import AnalysisRequest, SectionContent
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.reading import Row, read_rows
from dynaip_analysis.bench.section import Chosen, RunSection
from dynaip_analysis.decoupling.config import DecouplingConfig

if TYPE_CHECKING:
    from PIL import Image

    from dynaip.contracts import Case
    from dynaip_analysis.bench.labels import Labelled
    from dynaip_analysis.bench.workbench import Workbench
    from dynaip_analysis.decoupling.branches import Carried, Terms


class DecouplingSection(RunSection[DecouplingConfig]):
    """One adapter through one branch, both, or neither."""

    name = "decoupling"
    effort = 2

    def _check(self, request: AnalysisRequest) -> None:
        super()._check(request)
        if request.labelled and not request.prompt:
            raise InputError("--labelled needs a --prompt that says what to generate with the pictures")

    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw decoupling for the chosen arms; give the figures."""
        from dynaip_analysis.decoupling import figures, measure
        from dynaip_analysis.drawing import canvas

        bench = self.bench(request.run)
        cases = self.cases(bench, request, self.config.cases)
        images, scores = self._through(bench, cases, measure.served(bench.dyna))
        comparison = measure.Comparison(cases[: self.config.shown], images, scores)
        paths = [figures.draw_strip(out / "decoupling.png", comparison)]
        if not canvas.metric_names(scores):
            if scores:
                tell("no metric of the run gives a number for these cases: nothing but pictures is drawn")
            return paths
        branches = figures.draw(out / "decoupling-branches.png", comparison)
        return [*paths, branches, figures.draw_attributes(out / "decoupling-attributes.png", comparison)]

    def _through(
        self, bench: Workbench, cases: Sequence[Case], policies: Mapping[str, str | None]
    ) -> tuple[dict[str, list[Image.Image]], list[dict[str, Any]]]:
        """Generate and score the cases through each branch."""
        images: dict[str, list[Image.Image]] = {}
        scores: list[dict[str, Any]] = []
        for branch, policy in policies.items():
            made = bench.generate(cases, decoupling=policy, bare=policy is None, anew=False)
            images[branch] = made[: self.config.shown]
            scores += [
                {"branch": branch, "suite": case.suite, "case": case.id, **row}
                for case, row in zip(cases, bench.score(cases, made), strict=False)
            ]
        return images, scores

    def look_closer(self, chosen: Chosen, out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw what each branch's term carries, how alike the branches are, and both over the run's checkpoints."""
        from dynaip_analysis.bench.labels import said
        from dynaip_analysis.decoupling import branch_figures, branches, figures, measure

        bench = self.bench(chosen.run)
        cases, labelled = self._labelled(bench, request)
        if labelled is None:
            if not request.reference:
                tell("the benchmark knows no factors of its references: what the branches carry is not probed")
            return []
        leave_out = said(cases, bench.columns())

        def probed() -> tuple[Terms, Carried]:
            terms = branches.terms_of(bench, cases, self.config.probe_steps)
            return terms, branches.carried(terms, labelled, leave_out)

        terms, found = probed()
        paths = [branch_figures.draw_similarity(out / "decoupling-similarity.png", terms)]
        if not any(found.values()):
            tell("no factor can be probed: each needs two values in two identities, and more than prompts say")
        else:
            paths.append(branch_figures.draw_carried(out / "decoupling-carried.png", found, labelled.families))
        folders = branches.chosen_checkpoints(Path(chosen.run), self.config.checkpoints)
        if len(folders) < 2:
            return paths
        few = cases[: self.config.training_cases]
        policies = {name: policy for name, policy in measure.served(bench.dyna).items() if policy}

        def look() -> tuple[Carried, Sequence[Mapping[str, Any]]]:
            return probed()[1], self._through(bench, few, policies)[1]

        moments = branches.over_training(bench, folders, look, labelled.families)
        without = self._through(bench, few, {"neither": None})[1]
        if len(moments) < 2:
            return paths
        path = out / "decoupling-training.png"
        return [*paths, branch_figures.draw_training(path, moments, figures.COLOURS, without)]

    def _labelled(self, bench: Workbench, request: AnalysisRequest) -> tuple[list[Case], Labelled | None]:
        """Cases and what is known of their references: the benchmark's, or the user's labelled pictures with a prompt."""
        from dynaip.contracts import Case, CaseReference
        from dynaip_analysis.bench.labels import labelled_cases, labelled_folder
        from dynaip_analysis.bench.workbench import SUITE

        if request.labelled:
            labelled = labelled_folder(request.labelled)
            references = [(CaseReference(image),) for image in labelled.images]
            return [Case(str(k), SUITE, request.prompt or "", one, k) for k, one in enumerate(references)], labelled
        if request.reference:
            return [], None
        cases = bench.cases(self.config.suite, self.config.probed, request.seed)
        return cases, labelled_cases(cases, bench.columns())

    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Say what the tables of decoupling show, beside its figures."""
        table = out / "decoupling-branches.parquet"
        lead = f"Generated by {chosen[0].words()}: the same weights, with the policy swapped at inference. "
        lead += _sentence(read_rows(table))
        figures = [
            (out / "decoupling.png", "The same cases and seeds through each branch."),
            (out / "decoupling-branches.png", "Means with 95 % intervals over cases."),
            (
                out / "decoupling-attributes.png",
                "CP by attribute: the share of cases that keep it. Leak by attribute: agreement with the reference "
                "above chance, which only the reference can cause.",
            ),
        ]
        return SectionContent("What each branch carries", lead, figures, [("Means and paired differences", table)])


def _sentence(rows: Sequence[Row]) -> str:
    from dynaip_analysis.drawing import canvas

    parts: list[str] = []
    for row in rows:
        if row["branch"] == "image branch":
            clear = "" if row.get("decided") else ", not told apart from zero"
            parts.append(canvas.spoken(row["metric"], row, "difference") + clear)
    against = "both branches" if any(row["branch"] == "both branches" for row in rows) else "no reference"
    return f"Image branch alone minus {against}: {'; '.join(parts)}." if parts else ""
