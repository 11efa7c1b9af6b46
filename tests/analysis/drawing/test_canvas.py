"""What all figures share: tables that hold every column, whichever row has it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from dynaip_analysis.drawing import canvas


def test_tables_keep_columns_that_only_later_rows_have(tmp_path: Path) -> None:
    rows = [{"measure": "cka", "value": 0.5}, {"measure": "psnr", "value": 20.0, "value_low": 19.0, "chance": 12.0}]
    found = pq.read_table(canvas.write_rows(tmp_path / "table.parquet", rows)).to_pylist()
    assert found[1] == rows[1]
    assert found[0] == rows[0] | {"value_low": None, "chance": None}


def test_a_figure_of_its_own_draws_itself_in_a_notebook() -> None:
    with canvas.own_figure((2, 1)) as figure:
        figure.add_subplot().plot([0, 1])
    assert Image.open(BytesIO(figure._repr_png_())).size == (220, 110)
