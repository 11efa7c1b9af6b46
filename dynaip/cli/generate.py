"""``dynaip generate``: one prompt, one or several references, one or several images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.atomic import check_folder
from dynaip.cli.options import Device, Offload
from dynaip.cli.output import say
from dynaip.contracts.data import Box
from dynaip.device import use
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.paths import at_home
from dynaip.suggest import did_you_mean

if TYPE_CHECKING:
    from dynaip.setting import PictureRecord, PictureSetting

_SCALE = re.compile(r"^(?P<rest>.+)\*(?P<scale>[^*@]+)$")
_REGION = re.compile(r"^(?P<rest>.+)@(?P<region>[^@]+)$")
_NUMBER = re.compile(r"[-+.\d]+")


def generate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to paint.")],
    ref: Annotated[
        list[str] | None,
        typer.Option(
            "--ref", metavar="IMAGE[@l,t,r,b|@MASK][*scale]", help="A reference; its region and scale. Repeatable."
        ),
    ] = None,
    granularity: Annotated[
        list[str] | None, typer.Option("--granularity", metavar="LEVEL=VALUE", help="Fusion coefficient. Repeatable.")
    ] = None,
    decoupling: Annotated[
        str | None, typer.Option("--decoupling", help="Another policy than the adapter's own.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**53, help="Seed of the first image.")] = 0,
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="Images; their seeds count up.")] = 1,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Denoising steps.")] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="True classifier-free guidance; 1 is off.")
    ] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", metavar="TEXT", help="What to keep away from; needs guidance above 1.")
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(
            "--subject", metavar="WORD", help="Word of each --ref in the prompt: finds their regions. Repeatable."
        ),
    ] = None,
    attention_backend: Annotated[
        str | None, typer.Option("--attention-backend", help="native, flash, xformers, sage, flex.")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit", help="How references become square: crop (their middle) or pad; the encoder's own way else."
        ),
    ] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="HxW", help="Height x width in pixels.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.png", help="Where to write.")] = Path("out.png"),
    sheet: Annotated[
        bool, typer.Option("--sheet/--no-sheet", help="With -n: all images on one contact sheet, too.")
    ] = True,
    metadata: Annotated[
        bool,
        typer.Option(
            "--metadata/--no-metadata", help="Keep in the PNG how it was painted (dynaip reproduce reads it)."
        ),
    ] = True,
    device: Device = "auto",
    offload: Offload = None,
) -> None:
    """Personalise: paint the prompt with the subjects of the references."""
    use(device, offload)
    if not prompt.strip():
        raise InputError("the prompt is empty: say what to paint")
    if guidance is not None and not 0 <= guidance < float("inf"):
        raise InputError(f"--guidance {guidance}: give a number from 0 up; 1 is off")
    check_output(out)
    setting = _setting(
        run, prompt, [split_reference(text) for text in ref or ()], seed=seed, steps=steps, guidance=guidance, fit=fit,
        negative_prompt=negative, granularity=dict(_coefficient(text) for text in granularity or ()),
        decoupling=decoupling, attention_backend=attention_backend, subjects=tuple(subject or ()),
        size=parse_size(size) if size else None,
    )  # fmt: skip
    import dynaip
    from dynaip.adapter.files import backbone_of
    from dynaip.config import ComponentSpec
    from dynaip.images.sheet import contact_sheet
    from dynaip.setting import PictureRecord
    from dynaip.sizes import check_size

    if setting.size:
        check_size(backbone_of(run).config, setting.size, "--size")
    if decoupling:
        ComponentSpec.parse("decoupling", decoupling)
    references = setting.read()
    world = dynaip.load(run, attention_backend=attention_backend)
    _tell_idle(setting, world.guidance)
    seeds = list(range(seed, seed + number))
    images = setting.paint(world, seeds, references)
    paths = [out if number == 1 else out.with_stem(f"{out.stem}-{each}") for each in seeds]
    record = PictureRecord.of(setting, world, seeds) if metadata else None
    for place, (image, path) in enumerate(zip(images, paths, strict=True)):
        write_record(image, path, record and record.at(seeds[place]))
        if world.dyna.layout is not None:
            write_image(world.dyna.layout.picture(place), path.with_stem(f"{path.stem}-layout"))
            say(f"wrote {path.with_stem(f'{path.stem}-layout')}")
    if number > 1 and sheet:
        write_image(contact_sheet(images, [f"seed {each}" for each in seeds]), out.with_stem(f"{out.stem}-sheet"))
        say(f"wrote {out.with_stem(f'{out.stem}-sheet')}")


def _setting(run: str, prompt: str, given: list[Any], **options: Any) -> PictureSetting:
    from dynaip.config.explain import explained
    from dynaip.images.fit import FITS
    from dynaip.setting import PictureSetting, ReferenceSetting

    fit = options["fit"]
    if fit not in (None, *FITS):
        raise InputError(f"--fit {fit} must be {' or '.join(FITS)}.{did_you_mean(fit, FITS)}")
    with explained(PictureSetting, "generate"):
        references = tuple(ReferenceSetting(image=path, region=at, scale=scale) for path, at, scale in given)
        return PictureSetting(run=run, prompt=prompt, references=references, **options)


def _tell_idle(setting: PictureSetting, own: float | None) -> None:
    """What was asked for and will not act; ``own`` is the guidance that the run has by itself."""
    if not setting.references:
        named = {"--granularity": setting.granularity, "--decoupling": setting.decoupling, "--fit": setting.fit}
        idle = [name for name, value in named.items() if value]
        more = f"; nothing comes of {' and '.join(idle)}" if idle else ""
        tell(f"without --ref the base model paints alone, and the adapter adds nothing{more}")
    guidance = own if setting.guidance is None else setting.guidance
    if setting.negative_prompt and guidance is not None and guidance <= 1:
        tell("nothing comes of --negative without --guidance above 1")


def write_record(image: Any, path: Path, record: PictureRecord | None) -> None:
    """One picture, with its record where the format has room for it; ``InputError`` if the file cannot be written."""
    if record is None:
        write_image(image, path)
    else:
        try:
            kept = record.write(path, image)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be written ({error}): choose another place with -o") from error
        if not kept:
            tell(
                f"{path.suffix} has no room for how a picture was painted: dynaip reproduce needs a PNG", kind="format"
            )
    say(f"wrote {path}")


def split_reference(text: str) -> tuple[str, Box | str | None, float]:
    """Split ``IMAGE[@l,t,r,b|@MASK][*scale]``; a file whose own name holds ``@`` or ``*`` is taken as it is if it exists."""
    if _there(text):
        return text, None, 1.0
    scale, region, rest = 1.0, None, text
    if found := _SCALE.match(rest):
        rest, scale = found["rest"], _number(found["scale"], text)
    found = None if _there(rest) else _REGION.match(rest)
    if found and (_there(found["rest"]) or "," in found["region"]):
        rest, region = found["rest"], _region(found["region"], text)
    return rest, region, scale


def _region(written: str, whole: str) -> Box | str:
    """A box, or the path of a mask."""
    if "," not in written and not _NUMBER.fullmatch(written.strip()):
        return written
    edges = [_number(edge, whole) for edge in written.split(",")]
    if len(edges) != 4:
        raise InputError(f"--ref {whole}: a region is left,top,right,bottom, each within 0 and 1, or a mask's file")
    return edges[0], edges[1], edges[2], edges[3]


def _there(text: str) -> bool:
    try:
        return at_home(text).exists()
    except (OSError, ValueError, RuntimeError):  # too long a name, a null byte, nobody's home
        return False


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--ref {whole}: {text!r} is no number; write IMAGE@left,top,right,bottom*scale") from None


def _coefficient(text: str) -> tuple[str, float]:
    level, sign, value = text.partition("=")
    try:
        if not sign:
            raise ValueError
        return level.strip(), float(value)
    except ValueError:
        raise InputError(f"--granularity {text}: write LEVEL=VALUE, e.g. low=1.5") from None


def parse_size(text: str) -> tuple[int, int]:
    """Read ``HxW`` in pixels."""
    found = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    if not found or not int(found[1]) or not int(found[2]):
        raise InputError(f"--size {text}: write height x width in pixels, e.g. 512x768")
    return int(found[1]), int(found[2])


def check_output(path: Path) -> None:
    """Refuse a file that could not be written before anything is painted."""
    from PIL import Image

    if path.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"-o {path}: name an image file such as out.png")
    if path.is_dir():
        raise InputError(f"-o {path} is a folder: name a file in it")
    check_folder(path.parent)


def write_image(image: Any, path: Path) -> None:
    """Write an image that is complete or absent; ``InputError`` if the file cannot be written."""
    from dynaip import atomic

    try:
        atomic.write_image(path, image)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written ({error}): choose another place with -o") from error
