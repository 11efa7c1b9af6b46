"""The page itself: gradio's components around a studio. Nothing is decided here; what fails becomes the command line's line."""

# pyright: reportMissingImports=false
# gradio comes with the extra `ui`, which checks do not install.
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dynaip.cli.app import explain
from dynaip.errors import DynaIPError, InputError
from dynaip.setting import PictureRecord, PictureSetting
from dynaip_analysis.page.looks import look
from dynaip_analysis.page.regions import drawn_of, regions_of
from dynaip_analysis.page.studio import GivenReference, Painted, Studio, number

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
import gradio as gr

LARGEST_UPLOAD = "20mb"
LONGEST_HISTORY = 200
"""Pictures that a visitor's history shows; the folder keeps all."""
KEEP: Any = ["download", "fullscreen"]
"""Buttons on a picture."""
POLICY = ("default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: blob: data:; "
          "frame-ancestors 'self'; form-action 'none'; base-uri 'self'")  # fmt: skip
"""What a browser may load for the page: this machine alone."""
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
STYLE = """
.gradio-container { max-width: 1400px !important; }
#canvas canvas { width: 100%; max-width: 320px; aspect-ratio: 1; display: block; margin-top: 8px; touch-action: none;
  cursor: crosshair; border: 1px solid var(--border-color-primary); border-radius: 8px;
  background: var(--background-fill-secondary); }
#canvas select, #canvas button { font: inherit; padding: 4px 8px; margin-right: 6px;
  border: 1px solid var(--border-color-primary); border-radius: 6px; background: var(--background-fill-primary); color: inherit; }
#canvas p { margin: 8px 0 0; }
#painted img, #pair-0 img, #pair-1 img { image-rendering: pixelated; min-width: 256px; }
#maps .grid-wrap, #history .grid-wrap { max-height: none; }
#maps .caption-label { white-space: normal; max-width: 100%; left: 0; right: 0; font-size: 12px; line-height: 1.25; }
footer { display: none !important; }
@media (max-width: 720px) { .gradio-container .row { flex-direction: column; } }
"""


def serve(
    studio: Studio, host: str, port: int | None, *, share: bool = False, browser: bool = False
) -> tuple[Any, str]:
    """Start serving the page; give it and its address. Files of the studio's pictures alone are served."""
    page = build(studio)
    _, address, public = page.queue(max_size=16).launch(
        server_name=host, server_port=port, share=share, inbrowser=browser, quiet=True, prevent_thread_lock=True,
        max_file_size=LARGEST_UPLOAD, allowed_paths=[str(studio.folder / "pictures")],
        ssr_mode=False, enable_monitoring=False, footer_links=[],
        css=STYLE, theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        app_kwargs={"middleware": [_guarded()], "docs_url": None, "redoc_url": None},
    )  # fmt: skip
    return page, public or address


def _guarded() -> Any:
    """What a browser may load is said with every answer."""
    from starlette.middleware import Middleware

    class Guard:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def told(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), *HEADERS]
                await send(message)

            await self.app(scope, receive, told)

    return Middleware(Guard)


def build(studio: Studio) -> Any:
    """Make the page of a studio."""
    with gr.Blocks(title=f"DynaIP: {studio.run}", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        gr.Markdown("## DynaIP")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                inputs = _controls(studio)
            with gr.Column(scale=3, min_width=320):
                _results(studio, inputs)
    return page


def _controls(studio: Studio) -> list[Any]:
    """Everything a setting is read from, in the order of ``_setting``."""
    prompt = gr.Textbox(label="Prompt", lines=2, elem_id="prompt", max_length=4000)
    pictures: list[Any] = []
    scales: list[Any] = []
    with gr.Tabs():
        for number in range(1, studio.most_references + 1):
            with gr.Tab(f"Reference {number}"):
                pictures.append(_upload(number))
                scales.append(
                    gr.Slider(0, 2, 1, step=0.05, label=f"Scale of reference {number}", elem_id=f"scale-{number}")
                )
    with gr.Accordion("Where they may appear", open=True):
        numbers = "".join(f"<option value={n}>reference {n}</option>" for n in range(1, studio.most_references + 1))
        gr.HTML(
            html_template=f'<select name="reference" aria-label="reference">{numbers}</select><select name="tool" '
            'aria-label="tool"><option value="box">draw a box</option><option value="mask">paint a mask</option></select>'
            '<button type="button">clear</button><p>Drag over the square: it stands for the picture.</p>'
            '<canvas width="320" height="320" aria-label="regions"></canvas>',
            js_on_load=(Path(__file__).parent / "drawing.js").read_text(encoding="utf-8"), elem_id="canvas",
        )  # fmt: skip
        drawn = gr.Textbox(elem_id="drawn", visible="hidden", label="regions")
    with gr.Accordion("Granularity and policy", open=True):
        levels = [
            gr.Slider(0, 4, 1, step=0.05, label=f"level {name}", elem_id=f"level-{name}") for name in studio.levels
        ]
        policy = gr.Dropdown(studio.policies, value=studio.policies[0], label="Decoupling policy", elem_id="policy")
    with gr.Accordion("Painting", open=True):
        with gr.Row():
            # A field of numbers shows 0 where it is empty, and refuses in words that are not ours: text is read here.
            seed = gr.Number(0, label="Seed", precision=0, elem_id="seed")
            steps = gr.Textbox(label="Steps", placeholder="the run's own", elem_id="steps", max_length=20)
        guidance = gr.Textbox(
            label="Guidance (1 is off)", placeholder="the run's own", elem_id="guidance", max_length=20
        )
        negative = gr.Textbox(label="Negative prompt", elem_id="negative", max_length=4000)
    return [prompt, drawn, seed, steps, guidance, negative, policy, *levels, *scales, *pictures]


def _upload(number: int) -> Any:
    """A field for a reference; its file is read by us alone, so that what is wrong with it is said in our one line."""
    field = gr.Image(
        label=f"Reference {number}", type="filepath", sources=["upload", "clipboard"], format="png",
        elem_id=f"reference-{number}", height=220, buttons=["fullscreen"],
    )  # fmt: skip
    field.preprocess = lambda payload: payload and payload.path
    return field


def _picture(label: str, name: str) -> Any:
    """A place that shows a picture, with no button that would send it elsewhere."""
    return gr.Image(label=label, type="filepath", interactive=False, elem_id=name, format="png", buttons=KEEP)


def _setting(studio: Studio, values: Sequence[Any]) -> Any:
    prompt, drawn, seed, steps, guidance, negative, policy, *rest = values
    levels, count = len(studio.levels), studio.most_references
    regions = regions_of(drawn or "")
    scales, pictures = rest[levels : levels + count], rest[levels + count : levels + 2 * count]
    given = [GivenReference(Path(picture).read_bytes(), regions.get(number + 1), float(scales[number]), Path(picture).name)
             for number, picture in enumerate(pictures) if picture]  # fmt: skip
    return studio.setting(
        str(prompt or ""), given, seed=int(seed or 0), steps=number("steps", steps), guidance=number("guidance", guidance),
        negative_prompt=negative, decoupling=policy, granularity=dict(zip(studio.levels, rest[:levels], strict=True)),
    )  # fmt: skip


def _values(studio: Studio, setting: PictureSetting) -> tuple[Any, ...]:
    """What the controls show for a setting: the inverse of ``_setting``."""
    missing = (None,) * (studio.most_references - len(setting.references))
    regions = {number: Image.open(one.region) if isinstance(one.region, str) else one.region
               for number, one in enumerate(setting.references, 1) if one.region is not None}  # fmt: skip
    return (
        setting.prompt, drawn_of(regions), setting.seed, *_shown(setting.steps, setting.guidance),
        setting.negative_prompt or "", setting.decoupling or studio.policies[0],
        *(setting.granularity.get(level, 1) for level in studio.levels),
        *(one.scale for one in setting.references), *(1 for _ in missing),
        *(Image.open(one.image) for one in setting.references), *missing,
    )  # fmt: skip


def _shown(*values: float | None) -> list[str]:
    return ["" if value is None else str(value) for value in values]


def _results(studio: Studio, inputs: list[Any]) -> None:
    said = gr.Textbox(label="Says", interactive=False, elem_id="said", lines=1, max_lines=4)
    gallery = gr.Gallery(label="Pictures of this visit", columns=4, elem_id="history", format="png",
                         type="filepath", allow_preview=False, render=False, buttons=KEEP, height="auto")  # fmt: skip
    kept = [gr.State(list[str]()), gallery, said]
    with gr.Tabs():
        with gr.Tab("Paint"):
            painting = _painting()
        with gr.Tab("Compare"):
            _comparing(studio, inputs, kept)
        with gr.Tab("Grid"):
            _varying(studio, inputs, kept)
        with gr.Tab("Look inside"):
            _looking(studio, inputs, said)
        with gr.Tab("History"):
            gr.Markdown("Click a picture: the page takes its setting again. `dynaip reproduce` reads it from the file.")
            gallery.render()
    _recalls(studio, inputs, [*painting[2:], said], *kept[:2])
    _paints(studio, inputs, painting, kept)


def _painting() -> list[Any]:
    """Button, whether to paint on every change, the picture, and what it is as a command and as Python."""
    with gr.Row():
        paint = gr.Button("Paint", variant="primary", elem_id="paint")
        at_once = gr.Checkbox(True, label="paint again when a slider or the policy changes", elem_id="at-once")
    painted = _picture("Picture", "painted")
    with gr.Accordion("Take it with you", open=True):
        command = gr.Textbox(label="As command", buttons=["copy"], elem_id="command", interactive=False)
        python = gr.Textbox(label="As Python", buttons=["copy"], elem_id="python", interactive=False, lines=8)
    return [paint, at_once, painted, command, python]


def _kept(past: list[str], painted: Sequence[Painted]) -> tuple[Any, ...]:
    """The history with the pictures before it, the last first; the same for the gallery; what is said of them."""
    past[:0] = [str(one.path) for one in reversed(painted)]  # in place: what a visitor paints meanwhile is not lost
    del past[LONGEST_HISTORY:]
    return past, past, _told(painted)


def _paints(studio: Studio, inputs: list[Any], painting: list[Any], kept: list[Any]) -> None:
    paint, at_once, *shown = painting

    def show(past: list[str], *values: Any) -> tuple[Any, ...]:
        one = studio.paint(_setting(studio, values))
        return str(one.path), one.setting.command(), one.setting.python(), *_kept(past, [one])

    def show_if(wanted: bool, past: list[str], *values: Any) -> tuple[Any, ...]:
        return show(past, *values) if wanted and str(values[0] or "").strip() else (gr.skip(),) * 6

    history, outputs = kept[0], [*shown, *kept]
    paint.click(_plainly(show, 6), [history, *inputs], outputs, api_visibility="private")
    for each in inputs[6 : 7 + len(studio.levels) + studio.most_references]:
        event = each.release if isinstance(each, gr.Slider) else each.input
        event(_plainly(show_if, 6), [at_once, history, *inputs], outputs, api_visibility="private")


def _recalls(studio: Studio, inputs: list[Any], shown: list[Any], history: Any, gallery: Any) -> None:
    """A picture of the history brings back everything it was painted with, the regions on the canvas, too."""

    def recall(past: list[str], event: gr.SelectData) -> tuple[Any, ...]:
        path = past[event.index]
        setting = PictureRecord.read(Path(path)).setting
        told = f"the setting of {Path(path).name}, as it was painted"
        return *_values(studio, setting), path, setting.command(), setting.python(), told

    outputs = [*inputs, *shown]
    asked = gallery.select(_plainly_at(recall, len(outputs)), history, outputs, api_visibility="private")
    redraw = "(drawn) => document.dispatchEvent(new CustomEvent('dynaip-regions', {detail: drawn}))"
    asked.success(None, inputs[1], None, js=redraw)


def _comparing(studio: Studio, inputs: list[Any], kept: list[Any]) -> None:
    gr.Markdown("Keep a setting, change something, and see both on the seed of the second.")
    first = gr.State(None)
    with gr.Row():
        keep = gr.Button("Keep this setting", elem_id="keep")
        compare = gr.Button("Compare with it", variant="primary", elem_id="compare")
    with gr.Row():
        pair = [_picture(name, f"pair-{place}") for place, name in enumerate(("kept", "now"))]

    def keep_it(*values: Any) -> tuple[Any, ...]:
        setting = _setting(studio, values)
        return setting, f"kept: {setting.prompt}"

    def both(past: list[str], before: Any, *values: Any) -> tuple[Any, ...]:
        if before is None:
            raise InputError("there is nothing to compare with: keep a setting first")
        one, other = studio.side_by_side(before, _setting(studio, values))
        return str(one.path), str(other.path), *_kept(past, [one, other])

    keep.click(_plainly(keep_it, 2), inputs, [first, kept[-1]], api_visibility="private")
    compare.click(_plainly(both, 5), [kept[0], first, *inputs], [*pair, *kept], api_visibility="private")


def _varying(studio: Studio, inputs: list[Any], kept: list[Any]) -> None:
    with gr.Row():
        across = gr.Dropdown(studio.options(), value="seed", label="Columns", elem_id="across")
        columns = gr.Textbox("0, 1, 2", label="their values", elem_id="columns")
    with gr.Row():
        down = gr.Dropdown(studio.options(), value=studio.options()[1], label="Rows", elem_id="down")
        rows = gr.Textbox("0.5, 2", label="their values", elem_id="rows")
    grid = gr.Button("Paint the grid", variant="primary", elem_id="grid")
    sheet = _picture("Grid", "sheet")

    def paint_grid(past: list[str], *values: Any) -> tuple[Any, ...]:
        path, cells = studio.grid(_setting(studio, values[4:]), *map(str, values[:4]))
        return str(path), *_kept(past, cells)

    asked = [kept[0], across, columns, down, rows, *inputs]
    grid.click(_plainly(paint_grid, 4), asked, [sheet, *kept], api_visibility="private")


def _looking(studio: Studio, inputs: list[Any], said: Any) -> None:
    words = gr.Textbox(label="Words of the prompt, separated by commas", elem_id="words")
    inside = gr.Button("Look inside", variant="primary", elem_id="inside")
    maps = gr.Gallery(label="Maps", columns=3, elem_id="maps", object_fit="contain", format="png", buttons=KEEP,
                      height="auto")  # fmt: skip

    def look_inside(text: str, *values: Any) -> tuple[Any, ...]:
        named = [word.strip() for word in (text or "").split(",") if word.strip()]
        return look(studio, _setting(studio, values), named), "brighter is more"

    inside.click(_plainly(look_inside, 2), [words, *inputs], [maps, said], api_visibility="private")


def _told(cells: Sequence[Painted]) -> str:
    """How long it took, and what did not happen as asked."""
    notes = list(dict.fromkeys(line for each in cells for line in each.notes))
    return "; ".join([f"painted in {sum(each.seconds for each in cells):.1f} s", *(f"note: {line}" for line in notes)])


def _plainly(work: Callable[..., tuple[Any, ...]], count: int) -> Callable[..., tuple[Any, ...]]:
    """What goes wrong is said in the command line's one line, and everything else on the page stays as it is."""

    def run(*values: Any) -> tuple[Any, ...]:
        try:
            return work(*values)
        except Exception as error:
            if not isinstance(error, DynaIPError) and os.environ.get("DYNAIP_DEBUG"):
                raise
            return (*(gr.skip(),) * (count - 1), explain(error)[1])

    return run


def _plainly_at(work: Callable[..., tuple[Any, ...]], count: int) -> Callable[..., tuple[Any, ...]]:
    """The same for what is told which picture was clicked: gradio finds that out from the signature."""
    plainly = _plainly(work, count)

    def run(past: list[str], event: gr.SelectData) -> tuple[Any, ...]:
        return plainly(past, event)

    return run
