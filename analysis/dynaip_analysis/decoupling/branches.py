"""What each branch's injected term carries: probes of the terms, how alike the branches are, and both over training.

A term is the mean over queries of what a branch adds to a block's attention output, over steps of a generation through both
branches. Probes ask which factors of the reference it holds for identities never seen; the index of decoupling is ours:

    index = (specific - agnostic of the image branch) - (specific - agnostic of the text branch)

with the mean selectivity of concept-specific and concept-agnostic factors. It is positive if the branches part as the paper
says, 0 if they carry the same, negative if they part the other way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaip.adapter.model import DynaIP
from dynaip.contracts import Case
from dynaip.errors import DynaIPError, MismatchError
from dynaip.training import checkpoints
from dynaip_analysis.bench.labels import AGNOSTIC, SPECIFIC, Labelled
from dynaip_analysis.bench.workbench import Workbench
from dynaip_analysis.inference.probes import Probe, probe_halves
from dynaip_analysis.inference.resampling import Sampled, mean
from dynaip_analysis.recording.recorder import AttentionRequest, record

logger = logging.getLogger(__name__)

STEPS = 4
BATCH = 32

Terms = Mapping[str, Mapping[int, NDArray[np.float32]]]
"""Branch -> block -> mean term, one row a case (B x d)."""


def terms_of(bench: Workbench, cases: Sequence[Case], steps: int = STEPS) -> Terms:
    """Generate cases in a few steps through both branches, and keep what each branch adds for the first reference.

    What one branch adds is seen beside what the other adds. An adapter that was trained through one branch generates with its
    own policy.
    """
    parts: dict[str, dict[int, list[Any]]] = {}
    for batch in bench.batches(cases, BATCH):  # a recording holds one call of the pipeline
        with record(bench.dyna, attention=AttentionRequest(terms=True), routing=False) as recording:
            bench.generate(batch, decoupling=bench.every_branch, options={"num_inference_steps": steps})
        for branch, found in recording.term.items():
            kept = found.sel(reference=0).mean("step")
            for block in kept.axes["block"]:
                values = kept.sel(block=block).values[: len(batch)]
                parts.setdefault(branch, {}).setdefault(int(str(block)), []).append(values)
    return {branch: {block: np.concatenate(rows) for block, rows in blocks.items()} for branch, blocks in parts.items()}


def features_of(blocks: Mapping[int, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The blocks' terms side by side, each brought to a mean norm of one so that none drowns the others."""
    scaled = [term / max(float(np.linalg.norm(term, axis=1).mean()), 1e-12) for term in blocks.values()]
    return np.concatenate(scaled, axis=1)


Carried = Mapping[str, Sequence[Probe]]
"""Branch -> probes of its terms."""


def carried(terms: Terms, labelled: Labelled, leave_out: set[str] | None = None) -> Carried:
    """Probe each branch for every factor, without those that the prompt says anyway."""
    factors = {name: values for name, values in labelled.factors.items() if name not in (leave_out or set())}
    return {branch: probe_halves(features_of(blocks), factors, labelled.groups) for branch, blocks in terms.items()}


def family_means(found: Carried, families: Mapping[str, str]) -> dict[tuple[str, str], Sampled]:
    """(branch, family) -> mean selectivity over the family's factors; families without factors are left out."""
    means: dict[tuple[str, str], Sampled] = {}
    for branch, probes in found.items():
        for family in (SPECIFIC, AGNOSTIC):
            own = [each.selectivity() for each in probes if families.get(each.factor) == family]
            if own:
                means[branch, family] = mean(own)
    return means


def index_of(means: Mapping[tuple[str, str], Sampled]) -> Sampled | None:
    """The index of decoupling; None unless both branches were probed for both families."""
    wanted = [(branch, family) for branch in ("image", "text") for family in (SPECIFIC, AGNOSTIC)]
    if any(key not in means for key in wanted):
        return None
    image = means["image", SPECIFIC] - means["image", AGNOSTIC]
    return image - (means["text", SPECIFIC] - means["text", AGNOSTIC])


def carried_rows(found: Carried, families: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tidy rows: branch, family, and the columns of a probe; then the means of families and the index."""
    rows = [
        {"branch": branch, "family": families.get(each.factor, "other"), **each.row()}
        for branch, probes in found.items()
        for each in probes
    ]
    means = family_means(found, families)
    rows += [
        {"branch": branch, "family": family, "factor": "mean", **it.row("selectivity")}
        for (branch, family), it in means.items()
    ]
    index = index_of(means)
    return (
        [*rows, {"branch": "both", "family": "both", "factor": "index", **index.row("selectivity")}] if index else rows
    )


@contextmanager
def weights_of(dyna: DynaIP, weights: Mapping[str, Any]) -> Iterator[None]:
    """The adapter with other weights (of a checkpoint, say); its own are back afterwards, bit for bit.

    Raises ``MismatchError`` for weights that are not of this adapter.
    """
    own = {name: value.detach().clone() for name, value in dyna.state_dict().items()}
    try:
        try:
            dyna.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise MismatchError("weights of another adapter do not fit this one") from error
        yield
    finally:
        dyna.load_state_dict(own)


def chosen_checkpoints(run: Path, count: int) -> list[Path]:
    """At most ``count`` checkpoints of a run, spread evenly, first and last among them."""
    found = checkpoints.found(run / "checkpoints")
    places = sorted({round(k) for k in np.linspace(0, len(found) - 1, min(count, len(found)))}) if found else []
    return [found[k] for k in places]


@dataclass(frozen=True)
class Moment:
    """One checkpoint: what the branches carry, and scores of generations through each."""

    step: int
    means: Mapping[tuple[str, str], Sampled]
    index: Sampled | None
    scores: Sequence[Mapping[str, Any]]
    """One row a branch and case, as in ``decoupling.Comparison``."""


def over_training(
    bench: Workbench, folders: Sequence[Path], look: Callable[[], tuple[Carried, Sequence[Mapping[str, Any]]]],
    families: Mapping[str, str],
) -> list[Moment]:  # fmt: skip
    """Look with the weights of every checkpoint; one that cannot be read or does not fit is left out, with a line in the log."""
    moments: list[Moment] = []
    for folder in folders:
        with ExitStack() as stack:
            try:
                stack.enter_context(weights_of(bench.dyna, checkpoints.load(folder).adapter))
            except DynaIPError as error:
                named = str(error) if folder.name in str(error) else f"{folder.name}: {error}"
                logger.warning("%s; it is left out", named)
                continue
            found, scores = look()
        means = family_means(found, families)
        moments.append(Moment(checkpoints.step_of(folder), means, index_of(means), scores))
    return moments
