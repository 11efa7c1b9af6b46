"""The model card of a folder of microworld's models: its figures as one table for each question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = """# Models of microworld

Tiny models of the real classes for a procedural world of 128 x 128 pixels: a FLUX pipeline (`pipeline`), CLIP (`vision`), DINOv2
(`dino`), an oracle that reads every attribute from pixels (`oracle`) and a DynaIP adapter (`adapter`). Apache-2.0; trained on
rendered scenes alone, made by `dynaip microworld build DIR`. They show how the method works, not how well on photographs.

Measured from the saved files on identities of the test split, which no training saw, by
`dynaip microworld measure --count {scenes}`: one image a scene, {steps} sampling steps, guidance {true_cfg_scale}. Attributes are
shares of right answers of the oracle.
"""
READERS = """## The oracle and the autoencoder

The oracle on clean renders and on what the autoencoder gives back of them ({scenes} scenes); the autoencoder's PSNR is
{autoencoder_psnr} dB.
"""
BASE = """## The base, from text alone

`plain` prompts name category, background, place and size, and `dense` ones the identity as well. PF is the mean of the prompted
attributes; the number of subjects (`count`) is beside it. `identity` is the mean over what dense prompts say of it, `fine` and
`middle` are its bands; no prompt says the coarse one, the form.
"""
OUTLINES = """## Outlines

The same asked without the oracle: what is painted, held against what the renderer can draw (test identities, dense prompts).
Overlap with the nearest outline, share of subjects whose own category has it, agreement in dB inside the outline with the
renderer's picture of what the oracle read, and share of subjects in which oracle and outline name different categories.
"""
PROBES = """## What the layers of the tower hold

Selectivity of linear probes (accuracy on identities that no training saw, above that of a probe with shuffled answers), by layer.
"""
DINO_PROBES = """## What the layers of the second tower hold

The same of DINOv2 (`dino`), which was trained on pictures alone, without captions (`making/dino.py`).
"""
ADAPTER = """## The adapter ({steps} steps)

Identities from a reference, on {cases} cases a suite; `without reference` is the base alone on the same cases, whose CP is
that of chance. `cp 95 %` is half the width of CP's interval (1.96 standard errors over cases). Fine, middle and coarse are the
bands of identity: colours and texture, emblem, form. `outline` columns ask the renderer: overlap with the nearest outline, share
whose own category fits best, share whose own form does.
"""
TRAININGS = "## Trainings\n"


def model_card(report: Mapping[str, Any], trainings: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The report of ``measure`` as markdown, and how the models were trained."""
    readers, adapter = report["readers"], report.get("adapter")
    seen = {way: readers[f"oracle_on_{way}"] for way in ("renders", "reconstructions")}
    base = {name.removeprefix("base_"): figures for name, figures in report.items() if name.startswith("base_")}
    parts = [HEAD.format(scenes=report["scenes"], **report["sampling"])]
    parts += [READERS.format(**readers), table("images", seen)]
    parts += [BASE, table("subjects and prompt", base, leave=("scenes",))]
    if "outlines" in report:
        parts += [OUTLINES, table("subjects and pictures", report["outlines"])]
    if "probes" in report:
        parts += [PROBES, table("after", report["probes"])]
    if "dino_probes" in report:
        parts += [DINO_PROBES, table("after", report["dino_probes"])]
    if adapter:
        suites = {
            f"{suite}{'' if arm == 'adapter' else ', without reference'}": adapter[arm][suite]
            for suite in adapter["adapter"]
            for arm in ("adapter", "without_reference")
        }
        parts += [ADAPTER.format(**adapter), table("suite", suites)]
    if trainings:
        parts += [TRAININGS, table("model", trainings)]
    return "\n".join(parts)


def table(corner: str, rows: Mapping[str, Mapping[str, Any]], leave: tuple[str, ...] = ()) -> str:
    """A markdown table with a row for each name; columns in the order of their first row, a dash where a row has none."""
    columns = [name for name in dict.fromkeys(key for row in rows.values() for key in row) if name not in leave]
    lines = [[corner, *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(str(row.get(column, "–")) for column in columns)] for name, row in rows.items()]
    return "".join("| " + " | ".join(line).replace("_", " ") + " |\n" for line in lines)
