"""Cases: a prompt for a scene, and for each of its subjects a reference that shows it in another context."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from dynaip.contracts import Benchmark, Case, CaseReference
from dynaip.errors import InputError
from dynaip.suggest import did_you_mean
from dynaip_plugins.microworld.world.render import SIZE, pictures, subject_mask
from dynaip_plugins.microworld.world.scenes import another_context, labels, prompt, region, sample_scene

from .config import MicroworldBenchmarkConfig

SUBJECTS = {"single": 1, "multi2": 2, "multi3": 3, "multi4": 4}


class MicroworldBenchmark(Benchmark):
    """Suites by number of subjects; identities of the test split."""

    suites = tuple(SUBJECTS)

    def __init__(self, config: MicroworldBenchmarkConfig) -> None:
        self.config = config

    def cases(self, suite: str, *, seed: int = 0) -> Sequence[Case]:
        """Draw the cases of a suite; the first n are the same whatever the suite's size is."""
        if suite not in SUBJECTS:
            raise InputError(
                f"microworld has no suite {suite}; there are {', '.join(SUBJECTS)}.{did_you_mean(suite, SUBJECTS)}"
            )
        return [self._case(suite, number, seed) for number in range(getattr(self.config, suite))]

    def _case(self, suite: str, number: int, seed: int) -> Case:
        rng = np.random.default_rng((seed, number, SUBJECTS[suite], 0xBE7C))
        scene = sample_scene(rng, SUBJECTS[suite], "test")
        shown = [another_context(rng, scene, k) for k in range(len(scene.subjects))]
        several = len(scene.subjects) > 1
        # What the oracle should read in a subject's region, and what the reference shows.
        subjects = [
            {"region": region(scene, k), "labels": labels(scene, k), "reference": labels(alone, 0)}
            for k, alone in enumerate(shown)
        ]
        references = tuple(
            CaseReference(
                image,
                region(scene, k) if several else None,
                scene.subjects[k].category,
                partial(subject_mask, shown[k]),
            )
            for k, image in enumerate(pictures(shown))
        )
        return Case(
            id=f"{suite}-{number:04d}",
            suite=suite,
            prompt=prompt(scene),
            references=references,
            seed=int(rng.integers(2**31)),
            size=(SIZE, SIZE),
            truth={"subjects": subjects},
        )
