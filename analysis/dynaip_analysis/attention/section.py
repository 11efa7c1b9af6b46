"""The report's section on attention per branch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaip.contracts.section import AnalysisRequest, SectionContent
from dynaip.notes import tell
from dynaip.reading import Row, read_rows
from dynaip_analysis.attention.config import AttentionConfig
from dynaip_analysis.bench.section import Chosen, RunSection

if TYPE_CHECKING:
    from PIL.Image import Image

    from dynaip.contracts import Case
    from dynaip_analysis.bench.workbench import Workbench
    from dynaip_analysis.recording.recording import Recording


class AttentionSection(RunSection[AttentionConfig]):
    """Attention over generated images, branch by branch, and whether it follows the subject."""

    name = "attention"
    effort = 1

    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Draw attention for the chosen arms; give the figures."""
        from dynaip_analysis.attention import agreement, figures, measure

        bench = self.bench(request.run)
        cases = self.cases(bench, request, max(self.config.cases, self.config.masked))
        recordings: list[Recording] = []
        paths: list[Path] = []
        number = count()
        for batch in bench.batches(cases[: self.config.cases]):  # a recording holds one call of the pipeline
            recording, images = self._record(bench, batch)
            recordings.append(recording)
            recording.save(out / f"attention{f'-{len(recordings)}' if len(recordings) > 1 else ''}.safetensors")
            for sample, (case, image) in enumerate(zip(batch, images, strict=True)):
                paths += _draw_case(bench, recording, sample, next(number), case, image, out)
        rows = measure.measures(*recordings)
        paths += [figures.draw_blocks(out / "attention-blocks.png", rows)]
        paths += [figures.draw_spread(out / "attention-spread.png", rows)]
        agreed = self._agreement(bench, cases)
        return [*paths, agreement.draw(out / "attention-agreement.png", agreed)] if agreed else paths

    def _record(self, bench: Workbench, cases: Sequence[Case]) -> tuple[Recording, list[Image]]:
        """One generation with everything that is drawn: both branches, chosen places, and the words of the prompts."""
        from dynaip_analysis.attention.places import lattice
        from dynaip_analysis.recording.recorder import AttentionRequest, JointRequest, record

        prompts = [case.prompt for case in cases]
        words = list(dict.fromkeys(word for prompt in prompts for word in bench.words(prompt) if word.isalpha()))
        request = AttentionRequest(weighting="share")
        joint = JointRequest(words=words, points=lattice())
        with record(
            bench.dyna, attention=request, joint=joint, routing=False, prompts=prompts, budget=self.config.budget
        ) as recording:
            images = bench.generate(cases, decoupling=bench.every_branch)
        return recording, images

    def _agreement(self, bench: Workbench, cases: Sequence[Case]) -> list[Row]:
        """Rows over all cases whose references' masks the benchmark knows, some generated at a time."""
        from dynaip_analysis.attention import agreement
        from dynaip_analysis.bench.seen import mask_seen_by
        from dynaip_analysis.recording.recorder import AttentionRequest, record

        known = [case for case in cases if any(each.mask is not None for each in case.references)][: self.config.masked]
        maps: list[Any] = []
        for batch in bench.batches(known, BATCH):
            with record(
                bench.dyna, attention=AttentionRequest(weighting="share"), routing=False, budget=self.config.budget
            ) as found:
                bench.generate(batch, decoupling=bench.every_branch)
            maps += [
                _looked_at(bench, found, k, case, number) for k, case in enumerate(batch) for number, _ in _masked(case)
            ]
        places = [(case, number) for case in known for number, _ in _masked(case)]
        masks = [mask_seen_by(bench.dyna.encoder, mask()) for case in known for _, mask in _masked(case)]
        names = [case.id for case, _ in places]
        if len(known) < 2 or not all(maps):
            why = (
                "it takes two cases with a mask"
                if len(known) < 2
                else "this fusion's tokens have no place on a picture"
            )
            if known:
                tell(f"attention is not compared with the subject's mask: {why}")
            return []
        return agreement.agreement(maps, masks, names, [number for _, number in places])

    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Say what the tables of attention show, beside its figures."""
        rows = read_rows(out / "attention-blocks.parquet")
        shares = [f"{value:.0%} in the {branch} branch" for branch, value in _means(rows, "share").items()]
        tokens = [f"{value:.0f} in the {branch} branch" for branch, value in _means(rows, "effective_tokens").items()]
        lead = (
            f"Generated by {chosen[0].words()} with every branch that it has looking at the reference. "
            f"The reference term is on average this large beside the attention output: {', '.join(shares)}. "
            f"A query spreads over this many reference tokens (the exponential of its entropy): {', '.join(tokens)}. "
            f"{_follows(read_rows(out / 'attention-agreement.parquet'))}\n\n"
            "The size is the norm of the reference term over the norm of the attention output it is added to: "
            "a sharp map on a branch with a small term means little, so maps are means weighed by it."
        )
        found = [
            (path, _caption(path.stem))
            for path in sorted(out.glob("attention-*.png"), key=lambda path: (path.stem in CAPTIONS, path.stem))
        ]
        tables = [("Size and spread of the term by branch, block and step", out / "attention-blocks.parquet")]
        if (out / "attention-agreement.parquet").is_file():
            tables.append(("Agreement with the subject's mask", out / "attention-agreement.parquet"))
        return SectionContent("Attention in each branch", lead, found, tables)


BATCH = 8
"""Cases that are recorded together for the agreement with masks."""


def _masked(case: Case) -> list[tuple[int, Callable[[], Any]]]:
    """References of a case whose subject's place is known, and what tells it."""
    return [(number, each.mask) for number, each in enumerate(case.references) if each.mask is not None]


def _looked_at(bench: Workbench, recording: Recording, sample: int, case: Case, number: int) -> Mapping[str, Any]:
    from dynaip_analysis.attention import measure

    words = len(bench.words(case.prompt))
    return measure.maps(recording, bench.dyna.encoder.grid, sample=sample, reference=number, words=words).looked_at


def _draw_case(
    bench: Workbench, recording: Recording, sample: int, k: int, case: Case, image: Image, out: Path
) -> list[Path]:
    """One figure of the branches and one of places for every reference of a case, over what the encoder sees of it."""
    from dynaip_analysis.attention import figures, measure, places
    from dynaip_analysis.bench.seen import seen_by

    words, paths = bench.words(case.prompt), list[Path]()
    for number, each in enumerate(case.references):
        several = len(case.references) > 1
        stem = f"attention-{k}-reference{number + 1}" if several else f"attention-{k}"
        name = f"reference {number + 1} of {len(case.references)}" if several else "the reference"
        reference = seen_by(bench.dyna.encoder, each.image)
        found = measure.maps(recording, bench.dyna.encoder.grid, sample=sample, reference=number, words=len(words))
        paths.append(figures.draw(out / f"{stem}.png", reference, image, found, words, name))
        views = places.views(recording, found, sample=sample)
        paths += [places.draw(out / f"{stem}-places.png", reference, image, views, name)] if views else []
    return paths


CAPTIONS = {
    "attention-blocks": "Size of the reference term by block and denoising progress, on one scale.",
    "attention-spread": "Effective number of reference tokens by block; dashed: an even spread, and a single token.",
    "attention-agreement": "Attention over the reference against the subject's mask: means with 95 % intervals over cases, "
    "beside a centre prior, the maps of another case, and chance (a random map).",
}  # fmt: skip


def _caption(name: str) -> str:
    if name in CAPTIONS:
        return CAPTIONS[name]
    if name.endswith("-places"):
        return (
            "What places of the image look at: the reference through the image branch, the reference through words "
            "and the text branch, and the image itself; and back, which places look at the marked patch. One scale."
        )
    return (
        "Top: what the encoder sees of the reference, the image, where in the image the reference term is large, and which "
        "reference patches each branch looks at (one scale; 1 is an even spread). Bottom: how large the term is at every "
        "word, what two words look at, and which places of the image look at them."
    )


def _follows(rows: Sequence[Row]) -> str:
    own = {row["map"]: row for row in rows if row["metric"] == "average_precision"}
    rivals = [name for name in own if not name.endswith(" branch")]
    if not rivals:
        return ""
    best = max(rivals, key=lambda name: own[name]["value"])
    parts = [f"{own[name]['value']:.2f} in the {name}" for name in own if name.endswith(" branch")]
    return (
        f"Against the subject's mask the maps reach an average precision of {', '.join(parts)}; "
        f"the best baseline ({best}) reaches {own[best]['value']:.2f}."
    )


def _means(rows: Sequence[Row], column: str) -> dict[str, float]:
    branches = dict.fromkeys(str(row["branch"]) for row in rows)
    values = {branch: [float(row[column]) for row in rows if row["branch"] == branch] for branch in branches}
    values = {branch: [value for value in found if isfinite(value)] for branch, found in values.items()}
    return {branch: sum(found) / len(found) for branch, found in values.items() if found}
