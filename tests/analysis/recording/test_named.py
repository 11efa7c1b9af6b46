"""Named axes: choosing, averaging, tidy rows, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dynaip.errors import InputError
from dynaip_analysis.recording.named import Named, load, save


def array() -> Named:
    return Named(np.arange(6.0).reshape(2, 3), {"branch": ["image", "text"], "step": [0.0, 0.5, 1.0]})


def test_choosing_by_label() -> None:
    assert array().sel(branch="text", step=0.5).values == 4
    assert array().sel(step=-1).values.tolist() == [2, 5]
    kept = array().sel(step=[1.0, 0.0])
    assert kept.axes["step"] == [1.0, 0.0]
    assert kept.values.tolist() == [[2, 0], [5, 3]]


def test_labels_of_other_types() -> None:
    found = Named(np.arange(6.0).reshape(2, 3), {"head": range(2), "step": [0.0, 1 / 3, 2 / 3]})
    assert found.sel(step=0.33).values.tolist() == [1, 4], "as a drawing writes it"
    assert found.sel(head=range(1, 2)).axes["head"] == [1]
    assert found.sel(step=np.array([0.67, 0.0])).axes["step"] == [2 / 3, 0.0]
    assert found.sel(head=np.int64(1), step=0).values == 3
    for wrong in ({"step": 0.4}, {"head": -3}, {"head": slice(0, 1)}, {"step": 7}):
        with pytest.raises(InputError, match="axis"):
            found.sel(**wrong)


def test_means_leave_out_what_was_never_seen() -> None:
    values = array().values.copy()
    values[0, 0] = np.nan
    assert Named(values, array().axes).mean("step").values.tolist() == [1.5, 4.0]
    assert np.isnan(Named(np.array([np.nan]), {"step": [0]}).mean().values)


def test_tidy_rows() -> None:
    assert array().rows("weight")[4] == {"branch": "text", "step": 0.5, "weight": 4.0}


def test_unknown_labels_and_axes_are_named() -> None:
    with pytest.raises(InputError, match="no 'joint'; it has image, text"):
        array().sel(branch="joint")
    with pytest.raises(InputError, match="'step' has no -4"):
        array().sel(step=-4)
    with pytest.raises(InputError, match="the axes are branch, step"):
        array().mean("head")
    with pytest.raises(ValueError, match="do not fit"):
        Named(np.zeros(3), {"step": [0]})


def test_told_in_one_line() -> None:
    assert repr(array()) == "Named(branch 2, step 3; values from 0 to 5)"
    assert array().mean().told() == "a single number, 2.5"
    assert Named(np.full(2, np.nan), {"step": [0, 1]}).told() == "step 2; nothing was seen"


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.safetensors is not there"):
        load(str(tmp_path / "a.safetensors"))
    save(str(tmp_path / "a.safetensors"), {"a": array()})
    (tmp_path / "a.json").unlink()
    with pytest.raises(InputError, match=r"a.json is not there"):
        load(tmp_path / "a.safetensors")


def test_files(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "a.safetensors", {"a": array()}, {"seed": 3})
    arrays, extra = load(tmp_path / "deep" / "a.safetensors")
    assert arrays["a"].axes == dict(array().axes)
    assert extra == {"seed": 3}
    np.testing.assert_array_equal(arrays["a"].values, array().values)


@pytest.mark.parametrize("part", ["a.safetensors", "a.json"])
def test_damaged_files_are_one_line(tmp_path: Path, part: str) -> None:
    save(tmp_path / "a.safetensors", {"a": array()})
    content = (tmp_path / part).read_bytes()
    for damaged in (
        content[: len(content) // 2],
        b"[]",
        b'{"axes": {"b": {}}}',
        b'{"axes": {"a": {"x": [1]}}, "extra": {}}',
    ):
        (tmp_path / part).write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            load(tmp_path / "a.safetensors")
