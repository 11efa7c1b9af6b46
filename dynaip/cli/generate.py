"""``dynaip generate``: one prompt, one or several references, one or several images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dynaip.atomic import check_folder
from dynaip.cli.options import Device, Offload
from dynaip.cli.output import echo
from dynaip.contracts.data import Box
from dynaip.device import use
from dynaip.errors import InputError
from dynaip.notes import tell
from dynaip.paths import at_home

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
    coefficients = dict(_coefficient(text) for text in granularity or ())
    pixels = parse_size(size) if size else None
    given = [split_reference(text) for text in ref or ()]
    import dynaip
    from dynaip.adapter.files import backbone_of
    from dynaip.adapter.reference import Reference
    from dynaip.config import ComponentSpec
    from dynaip.sizes import check_size

    if pixels:
        check_size(backbone_of(run).config, pixels, "--size")
    policy = ComponentSpec.parse("decoupling", decoupling) if decoupling else None
    fitted: Any = fit
    references = [Reference(path, region=region, scale=scale, fit=fitted) for path, region, scale in given]
    idle = [
        name
        for name, value in (("--granularity", granularity), ("--decoupling", decoupling), ("--fit", fit))
        if value and not given
    ]
    if idle:
        tell(f"without --ref nothing comes of {' and '.join(idle)}")
    world = dynaip.load(run, attention_backend=attention_backend)
    seeds = list(range(seed, seed + number))
    more: dict[str, Any] = {"layout": "auto", "subjects": subject} if subject else {}
    more |= {} if steps is None else {"num_inference_steps": steps}
    images = world.paint(
        prompt, *references, seeds=seeds, size=pixels, granularity=coefficients or None, decoupling=policy,
        guidance=guidance, **more,
    )  # fmt: skip
    for place, image in enumerate(images):
        path = out if number == 1 else out.with_stem(f"{out.stem}-{seeds[place]}")
        write_image(image, path)
        echo(f"wrote {path}")
        if world.dyna.layout is not None:
            write_image(world.dyna.layout.picture(place), path.with_stem(f"{path.stem}-layout"))
            echo(f"wrote {path.with_stem(f'{path.stem}-layout')}")


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
