"""How the cost of references grows with their number, their tokens and the image: a table, and a plot of it.

FLOPs are counted on meta tensors for one double-stream and one single-stream block, and added up to FLUX.1's 19 + 38:
every block of a kind costs the same. `make bench` writes ``bench/growth.csv`` and ``bench/growth.png``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from dynaip import Reference

OUT = Path(__file__).parents[2] / "bench"
DOUBLE, SINGLE, WIDTH, TOKENS, EDGE = 19, 38, 3072, 577, 64
AXES: dict[str, list[int]] = {
    "references": [1, 2, 3, 4, 6, 8, 10],
    "references in regions of their own": [1, 2, 3, 4, 6, 8, 10],
    "reference tokens": [4, 16, 128, 257, 577, 729, 1024],
    "image edge": [512, 768, 1024, 1536, 2048],
}


def flops_of(model: Any, inputs: dict[str, Any]) -> int:
    """Floating-point operations of one pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    return counter.get_total_flops()


def stripes(count: int) -> list[tuple[float, float, float, float]]:
    """Regions side by side that fill the image."""
    return [(number / count, 0.0, (number + 1) / count, 1.0) for number in range(count)]


@pytest.fixture(scope="module")
def cost(make_flux: Callable[..., Any], inputs_of: Callable[..., Any], make_adapter: Callable[..., Any]) -> Any:
    """FLOPs of FLUX.1's base and of what references add (keys and values, then every step), for one point of an axis."""
    one, both, two = make_flux(1, 0), make_flux(1, 1), make_flux(2, 0)
    picture = Image.new("RGB", (8, 8))
    bases: dict[int, int] = {}

    def base_of(edge: int) -> int:
        if edge not in bases:
            counts = [flops_of(model, inputs_of(model, edge)) for model in (one, both, two)]
            double, single = counts[2] - counts[0], counts[1] - counts[0]
            bases[edge] = counts[0] + (DOUBLE - 1) * double + SINGLE * single
        return bases[edge]

    def count(axis: str, value: int) -> dict[str, float]:
        edge = value // 16 if axis == "image edge" else EDGE
        tokens = value if axis == "reference tokens" else TOKENS
        number = value if axis.startswith("references") else 1
        boxes = stripes(number) if "regions" in axis else [None] * number
        dyna, inputs = make_adapter(one, tokens=tokens).attach(one), inputs_of(one, edge)
        bare = flops_of(one, inputs)
        with dyna.references(*(Reference(picture, region=box) for box in boxes)):
            first, later = flops_of(one, inputs) - bare, flops_of(one, inputs) - bare
        dyna.detach()
        base, held = base_of(edge), DOUBLE * number * tokens * WIDTH * 4 / 2**20
        return {"base": base, "step": DOUBLE * later, "once": DOUBLE * (first - later), "mib": held}

    return count


def test_growth(cost: Any) -> None:
    """Linear in references, tokens and image tokens; constant where every reference has a region of its own."""
    rows: list[dict[str, Any]] = []
    for axis, values in AXES.items():
        rows += [{"axis": axis, "value": value, **cost(axis, value)} for value in values]
    print(f"\n{'axis':<36}{'value':>6}{'base TFLOPs':>13}{'+ a step':>10}{'+ once':>10}{'K/V MiB':>9}")
    for row in rows:
        print(f"{row['axis']:<36}{row['value']:>6}{row['base'] / 1e12:>13.1f}{row['step'] / row['base']:>10.2%}"
              f"{row['once'] / row['base']:>10.2%}{row['mib']:>9.1f}")  # fmt: skip
    write(rows)
    of = {axis: {row["value"]: row["step"] for row in rows if row["axis"] == axis} for axis in AXES}
    assert all(step == value * of["references"][1] for value, step in of["references"].items())
    tokens = of["reference tokens"]
    assert all(step * 577 == pytest.approx(value * tokens[577], rel=1e-6) for value, step in tokens.items())
    edges = of["image edge"]
    assert all(step == pytest.approx(edges[1024] * (value / 1024) ** 2, rel=1e-6) for value, step in edges.items())
    # Stripes that cut a column of tokens share it: at most one column more a border.
    own = of["references in regions of their own"]
    assert all(step <= own[1] * (1 + (value - 1) / EDGE) for value, step in own.items())
    assert own[4] == own[1]


def write(rows: list[dict[str, Any]]) -> None:
    """The table as CSV, and a picture with one panel an axis."""
    import matplotlib.pyplot as plt

    OUT.mkdir(exist_ok=True)
    with (OUT / "growth.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    figure, panels = plt.subplots(1, len(AXES), figsize=(4 * len(AXES), 3), layout="constrained")
    for panel, axis in zip(panels, AXES, strict=True):
        chosen = [row for row in rows if row["axis"] == axis]
        panel.plot([row["value"] for row in chosen], [row["step"] / 1e12 for row in chosen], marker="o")
        panel.set(xlabel=axis, ylabel="TFLOPs added to a step", ylim=(0, None))
        panel.grid(alpha=0.3)
    figure.savefig(OUT / "growth.png", dpi=110)
    plt.close(figure)
    print(f"wrote {OUT / 'growth.csv'} and growth.png")
