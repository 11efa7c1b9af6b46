"""Draws the references of this folder: for each category of microworld a subject whose identity no training saw."""

from pathlib import Path

from dynaip_plugins.benchmarks.microworld.config import MicroworldBenchmarkConfig
from dynaip_plugins.benchmarks.microworld.model import MicroworldBenchmark

HERE = Path(__file__).parent


def main() -> None:
    """Write one picture a category, the first of its kind among the benchmark's cases."""
    shown = [case.references[0] for case in MicroworldBenchmark(MicroworldBenchmarkConfig(single=64)).cases("single")]
    for subject in sorted({reference.subject for reference in shown}):
        first = next(reference for reference in shown if reference.subject == subject)
        first.image.save(HERE / f"{subject}.png")
        print("wrote", HERE / f"{subject}.png")


if __name__ == "__main__":
    main()
