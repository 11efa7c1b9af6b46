"""What the sections share: which run of an ablation they look into, and how they name it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dynaip.atomic import write_json
from dynaip.contracts.section import AnalysisRequest, ReportSection, SectionContent
from dynaip.errors import InputError
from dynaip.images import load_image
from dynaip.notes import tell
from dynaip.reading import check_picture, mapping, table
from dynaip.report.directory import AblationDirectory, ShownArm
from dynaip.suggest import one_line
from dynaip_analysis.bench.config import SectionConfig

if TYPE_CHECKING:
    from dynaip.contracts import Case
    from dynaip_analysis.bench.workbench import Workbench

Config = TypeVar("Config", bound=SectionConfig)

REPORT_ONLY = {"run": "RUN, its first argument", "seed": "--seed"}
"""Options that an analysis of one run would not read -> what it reads instead."""


@dataclass(frozen=True)
class Chosen:
    """A run that a section looks into."""

    label: str
    run: str
    steps: int | None
    shipped: bool

    def words(self) -> str:
        """How the text names it."""
        trained = f", trained for {self.steps:,} steps" if self.steps else ""
        return f"the shipped adapter ({self.label}{trained})" if self.shipped else f"the arm {self.label}{trained}"


def chosen_runs(directory: Path, wanted: str | None = None) -> list[Chosen]:
    """Runs worth looking into: the one that is wanted; else the shipped adapter, then the reference arm."""
    if wanted:
        return [Chosen(Path(wanted).name, wanted, None, shipped=not Path(wanted).is_dir())]
    arms = [arm for arm in AblationDirectory.read(directory).arms if arm.state != "failed"]
    shipped = [_chosen(arm) for arm in arms if arm.baseline and not arm.bare]
    trained = [_chosen(arm) for arm in arms if not arm.baseline and arm.adapter_folder is not None]
    return [*shipped[:1], *trained[:1]]


def _chosen(arm: ShownArm) -> Chosen:
    run = (
        (arm.run or arm.name) if arm.baseline else str(arm.adapter_folder.parent if arm.adapter_folder else arm.folder)
    )
    return Chosen(arm.name, run, arm.steps, arm.baseline)


AGAIN = "An ablation with --resume makes it again."


def lost_of(out: Path, figures: Sequence[str]) -> dict[str, str]:
    """Figures and tables beside them that are missing or damaged: name -> why, in a few words that begin with it."""
    lost: dict[str, str] = {}
    for path in (out / name for name in figures):
        for check, part in ((check_picture, path), (table, path.with_suffix(".parquet"))):
            try:
                if not part.is_file():
                    raise InputError(f"{part} is missing")
                check(part)
            except InputError as error:
                lost[part.name] = str(error).replace(str(part), part.name)
    return lost


class RunSection(ReportSection, Generic[Config]):
    """A section that looks into one run (or a few) and leaves its files in `analysis/`."""

    name: str
    runs = 1
    """How many of the chosen runs are looked into."""
    generates = True
    """Whether a picture of the user's own needs a prompt."""
    identities = 1
    """How many identities the user's labelled pictures must show."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._benches: dict[str, Workbench] = {}
        self._shelves: list[Path] = []

    def bench(self, run: str) -> Workbench:
        """A RUN with its pipeline, loaded once."""
        from dynaip_analysis.bench.workbench import Workbench

        if run not in self._benches:
            self._benches[run] = Workbench.open(run)
            self._benches[run].shelves = [*self._shelves, Path(run) / "samples"]
        return self._benches[run]

    def cases(self, bench: Workbench, request: AnalysisRequest, count: int) -> list[Case]:
        """The user's own picture as the only case, or the first ``count`` cases of the section's suite."""
        if request.reference:
            return [bench.case_of(request.reference, request.prompt, request.seed)]
        found = bench.cases(self.config.suite, count, request.seed)
        asked = [name for name in self.config.model_fields_set if getattr(self.config, name) == count]
        if len(found) < count and asked:
            tell(f"{asked[0]}={count}, but suite {self.config.suite} has {len(found)} cases: all are taken")
        return found

    def prepare(self, directory: Path) -> None:
        """Look into the chosen runs; the files are named after the section."""
        out = directory / "analysis"
        self._shelves = [arm.samples for arm in AblationDirectory.read(directory).arms if arm.samples.is_dir()]
        self.forget(out)
        chosen = chosen_runs(directory, self.config.run)[: self.runs]
        if not chosen:
            return
        figures = self.look(chosen, out, AnalysisRequest(chosen[0].run, out, seed=self.config.seed))
        self.keep(out, figures, runs=[asdict(each) for each in chosen])

    def analyse(self, request: AnalysisRequest) -> Sequence[Path]:
        """Look into one run; give its figures. What the user gave is checked before any model is loaded."""
        self._check(request)
        chosen = Chosen(Path(request.run).name, request.run, None, shipped=False)
        return [*self.look([chosen], request.out, request), *self.look_closer(chosen, request.out, request)]

    def content(self, directory: Path) -> SectionContent | None:
        """What was prepared, with a word on what got lost since; None if nothing was. ``InputError`` if the record is damaged."""
        out = directory / "analysis"
        record = mapping(out / f"{self.name}.json")
        if not record:
            return None
        try:
            found = self.tell([Chosen(**each) for each in record.get("runs", [])], out)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the tables of {self.name} do not fit: {one_line(error)}. {AGAIN}") from error
        made: list[str] | None = record.get("figures")
        if made is None:
            return found
        lost = lost_of(out, made)
        shown = [each for each in found.figures if each[0].name in made and each[0].name not in lost]
        lead = f"{found.lead}\n\nNot shown: {'; '.join(lost.values())}. {AGAIN}" if lost else found.lead
        return replace(found, lead=lead, figures=shown)

    def forget(self, out: Path) -> None:
        """Drop the record of what was made before: what is not made again is not shown as if it were."""
        (out / f"{self.name}.json").unlink(missing_ok=True)

    def keep(self, out: Path, figures: Sequence[Path], **record: Any) -> None:
        """Note what was made, so that a report can tell what is missing from what never was."""
        write_json(out / f"{self.name}.json", {**record, "figures": [path.name for path in figures]})

    def _check(self, request: AnalysisRequest) -> None:
        for option, instead in REPORT_ONLY.items():
            if option in self.config.model_fields_set:
                raise InputError(
                    f"{option} is an option of sections in a report; an analysis of one run takes {instead}"
                )
        if request.labelled is not None:
            from dynaip_analysis.bench.labels import labelled_folder, require_identities

            require_identities(labelled_folder(request.labelled), self.identities, request.labelled)
        if request.reference is None:
            if request.prompt is not None and request.labelled is None:
                raise InputError("--prompt goes with a picture of your own: give it with --ref IMAGE")
            return
        load_image(request.reference)
        if self.generates and not request.prompt:
            raise InputError("--ref needs a --prompt that says what to generate")

    @abstractmethod
    def look(self, chosen: Sequence[Chosen], out: Path, request: AnalysisRequest) -> list[Path]:
        """Run the models, write figures and tables into ``out``, give the figures."""

    def look_closer(self, chosen: Chosen, out: Path, request: AnalysisRequest) -> list[Path]:
        """Figures that take longer, made by ``dynaip analyze`` and not for a report; by default none."""
        return []

    @abstractmethod
    def tell(self, chosen: Sequence[Chosen], out: Path) -> SectionContent:
        """Words from the tables, and the figures."""
