"""What all figures share: tables that hold every column, whichever row has it."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from dynaip_analysis import figures


def test_tables_keep_columns_that_only_later_rows_have(tmp_path: Path) -> None:
    rows = [{"measure": "cka", "value": 0.5}, {"measure": "psnr", "value": 20.0, "value_low": 19.0, "chance": 12.0}]
    found = pq.read_table(figures.write_table(tmp_path / "table.parquet", rows)).to_pylist()
    assert found[1] == rows[1]
    assert found[0] == rows[0] | {"value_low": None, "chance": None}
