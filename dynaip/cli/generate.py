"""``dynaip generate``: one prompt, one or several references, one or several images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dynaip.cli.options import Device, Offload
from dynaip.cli.output import echo
from dynaip.device import use
from dynaip.errors import InputError

if TYPE_CHECKING:
    from dynaip.adapter.layout import Layout
    from dynaip.adapter.reference import Reference

_SCALE = re.compile(r"^(?P<rest>.+)\*(?P<scale>[^*@]+)$")
_BOX = re.compile(r"^(?P<rest>.+)@(?P<box>[^@]+)$")


def generate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a hub id, or microworld.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to paint.")],
    ref: Annotated[
        list[str] | None,
        typer.Option("--ref", metavar="IMAGE[@l,t,r,b][*scale]", help="A reference; its region and scale. Repeatable."),
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
    from dynaip.adapter.reference import Reference

    references = [Reference(path, region=box, scale=scale) for path, box, scale in given]
    options = {"num_inference_steps": steps, "true_cfg_scale": guidance}
    given_options = {key: value for key, value in options.items() if value is not None}
    images, layout = _paint(
        run, prompt, references, seeds=list(range(seed, seed + number)), subjects=subject, size=pixels,
        granularity=coefficients or None, decoupling=decoupling, backend=attention_backend, options=given_options,
    )  # fmt: skip
    if pixels and images[0].size[::-1] != pixels:
        made = "x".join(map(str, images[0].size[::-1]))
        echo(f"note: the model paints in whole tokens: {made} instead of {size}", err=True)
    for place, image in enumerate(images):
        path = out if number == 1 else out.with_stem(f"{out.stem}-{seed + place}")
        write_image(image, path)
        echo(f"wrote {path}")
        if layout is not None:
            write_image(layout.picture(place), path.with_stem(f"{path.stem}-layout"))
            echo(f"wrote {path.with_stem(f'{path.stem}-layout')}")


def split_reference(text: str) -> tuple[str, tuple[float, float, float, float] | None, float]:
    """Split ``IMAGE[@l,t,r,b][*scale]``; a file whose own name holds ``@`` or ``*`` is taken as it is if it exists."""
    if Path(text).exists():
        return text, None, 1.0
    scale, box, rest = 1.0, None, text
    if found := _SCALE.match(rest):
        rest, scale = found["rest"], _number(found["scale"], text)
    if (
        not Path(rest).exists()
        and (found := _BOX.match(rest))
        and (Path(found["rest"]).exists() or "," in found["box"])
    ):
        edges = [_number(edge, text) for edge in found["box"].split(",")]
        if len(edges) != 4:
            raise InputError(f"--ref {text}: a region is left,top,right,bottom, each within 0 and 1")
        rest, box = found["rest"], (edges[0], edges[1], edges[2], edges[3])
    return rest, box, scale


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


def _paint(
    run: str, prompt: str, references: list[Reference], *, seeds: list[int], subjects: list[str] | None,
    size: tuple[int, int] | None, granularity: dict[str, float] | None, decoupling: str | None, backend: str | None,
    options: dict[str, Any],
) -> tuple[list[Any], Layout | None]:  # fmt: skip
    """Images, and the layout that was found if subjects are named."""
    import dynaip
    from dynaip.evaluation.runs import options_of

    defaults = options_of(run)
    pipe, dyna = dynaip.load(run, attention_backend=backend)
    _warn_unknown(pipe, prompt)
    auto: dict[str, Any] = {"layout": "auto", "subjects": subjects} if subjects else {}
    with dyna.references(*references, granularity=granularity, decoupling=decoupling, **auto):
        given = {**defaults, **options}
        images = dyna.backbone.generate(pipe, [prompt] * len(seeds), seeds=seeds, size=size, **given)
    return images, dyna.layout


def _warn_unknown(pipe: Any, prompt: str) -> None:
    """Say which words the text encoder has never seen (a model of the full size knows them all)."""
    tokenizer = getattr(pipe, "tokenizer_2", None) or pipe.tokenizer
    unknown = getattr(tokenizer, "unk_token_id", None)
    words = re.findall(r"[^\s,.;:!?]+", prompt)
    lost = [
        word for word in words if unknown is not None and unknown in tokenizer(word, add_special_tokens=False).input_ids
    ]
    if lost:
        echo(f"note: the text encoder does not know {', '.join(dict.fromkeys(lost))}", err=True)


def check_output(path: Path) -> None:
    """Refuse a file that could not be written before anything is painted."""
    from PIL import Image

    if path.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"-o {path}: name an image file such as out.png")
    if path.is_dir():
        raise InputError(f"-o {path} is a folder: name a file in it")


def write_image(image: Any, path: Path) -> None:
    """Write an image that is complete or absent; ``InputError`` if the file cannot be written."""
    from dynaip import atomic

    try:
        atomic.write_image(path, image)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written ({error}): choose another place with -o") from error
