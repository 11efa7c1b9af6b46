"""``dynaip reproduce``: paint a picture again from what its own file says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.cli.generate import check_output, write_record
from dynaip.cli.options import Device, Offload
from dynaip.cli.output import echo
from dynaip.device import use
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.paths import at_home

if TYPE_CHECKING:
    from dynaip.setting import PictureRecord, PictureSetting, ReferenceSetting


def reproduce(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE.png", help="A PNG that generate or ui wrote.")],
    ref: Annotated[
        list[Path] | None,
        typer.Option("--ref", metavar="FILE", help="A reference or mask that lies elsewhere now. Repeatable."),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Where the run lies now, or another one to paint with.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT.png", help="Where to write; PICTURE-again.png by default."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Say what the picture was asked with, and paint nothing.")
    ] = False,
    device: Device = "auto",
    offload: Offload = None,
) -> None:
    """Paint a picture again from what its file says, and say whether it is the same."""
    use(device, offload)
    from dynaip.setting import PictureRecord

    record = PictureRecord.read(picture)
    if show:
        echo(record.model_dump_json(indent=2, exclude_none=True))
        return
    target = out or picture.with_stem(f"{picture.stem}-again")
    check_output(target)
    setting = _on_this_machine(record, picture, run, ref or [])
    references = setting.read()
    import dynaip

    world = dynaip.load(setting.run, attention_backend=setting.attention_backend)
    _tell_changes(record, world, setting)
    image = setting.paint(world, record.seeds, references)[record.seeds.index(setting.seed)]
    write_record(image, target, PictureRecord.of(setting, world, record.seeds))
    echo(_likeness(image, picture))


def _on_this_machine(record: PictureRecord, picture: Path, run: str | None, files: list[Path]) -> PictureSetting:
    """The setting with the files of this machine; ``InputError`` names what is missing or no longer the same."""
    from dynaip.models import is_here
    from dynaip.setting import adapter_digest, file_digest

    setting = record.setting
    if run is None and not is_here(setting.run):
        raise InputError(
            f"{picture} was painted by {setting.run}, which is not on this machine: say where with --run RUN"
        )
    used = run or setting.run
    if adapter_digest(used) != record.adapter:
        if run is None:
            raise InputError(
                f"{used} is not the adapter that painted {picture}: say where that one lies with --run RUN "
                f"(--run {used} paints with this one all the same)"
            )
        tell(f"{used} holds another adapter than the one that painted {picture}")
    beside = [picture.parent / Path(name).name for one in setting.references for name in (one.image, one.region)
              if isinstance(name, str)]  # fmt: skip
    known = {file_digest(file): str(file) for file in (*beside, *files) if at_home(file).is_file()}
    found = tuple(_found(one, known, picture) for one in setting.references)
    return setting.model_copy(update={"run": used, "references": found})


def _found(one: ReferenceSetting, known: dict[str, str], picture: Path) -> ReferenceSetting:
    changed: dict[str, Any] = {"image": _file(one.image, one.sha256, known, picture)}
    if isinstance(one.region, str):
        changed["region"] = _file(one.region, one.mask_sha256, known, picture)
    return one.model_copy(update=changed)


def _file(name: str, digest: str, known: dict[str, str], picture: Path) -> str:
    """Where a file with this content lies: as it was named, beside the picture, or as the user says."""
    from dynaip.setting import file_digest

    if at_home(name).is_file() and file_digest(name) == digest:
        return name
    if digest in known:
        return known[digest]
    state = "is not what it was" if at_home(name).is_file() else "is not here"
    raise InputError(
        f"{name}, of which {picture} was painted, {state}: name the file with --ref FILE (SHA-256 {digest[:12]}…)"
    )


def _tell_changes(record: PictureRecord, world: Any, setting: PictureSetting) -> None:
    from dynaip.runs import versions

    now = versions()
    other = [
        f"{name} {was} (now {now.get(name, 'none')})" for name, was in record.versions.items() if now.get(name) != was
    ]
    if other:
        tell(f"painted with {', '.join(other)}")
    if dict(world.options) != record.options:
        tell(f"{setting.run} has other options of generation now than when the picture was painted")


def _likeness(image: Any, picture: Path) -> str:
    """One sentence about how far two pictures are apart."""
    import numpy as np

    from dynaip.images import load_image

    now, then = np.asarray(image, dtype=np.int16), np.asarray(load_image(picture), dtype=np.int16)
    if now.shape != then.shape:
        return f"not the same: {picture} has been given another size since"
    apart = np.abs(now - then)
    if not apart.any():
        return f"the same as {picture}, pixel for pixel"
    return f"not the same as {picture} to the pixel: {apart.max()} of 255 apart at most, {apart.mean():.2f} in the mean"
