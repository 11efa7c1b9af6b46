"""Level features in fewer bytes."""

from __future__ import annotations

import pytest
import torch

from dynaip.training.levels import packed, unpacked


@pytest.mark.parametrize(
    ("kept", "bytes_a_value", "relative"), [("fp32", 4, 0.0), ("bf16", 2, 2**-8), ("int8", 1, None)]
)
def test_what_comes_back_is_within_half_a_unit(kept: str, bytes_a_value: int, relative: float | None) -> None:
    values = torch.randn(2, 7, 96, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.01, 1, 300.0] * 32)
    made = packed(values, kept)  # pyright: ignore[reportArgumentType]
    found = unpacked(made)
    assert found.shape == values.shape
    assert found.dtype == torch.float32
    assert made.nbytes == values.numel() * bytes_a_value + (kept == "int8") * 2 * 7 * 4
    # int8: half of a 127th of the token's largest value.
    allowed = values.abs() * relative if relative is not None else values.abs().amax(-1, keepdim=True) / 254 * 1.0001
    assert bool(((found - values).abs() <= allowed).all())


def test_stacked_rows_unpack_as_single_ones_and_what_is_not_finite_stays_so() -> None:
    rows = [torch.randn(5, 8), torch.zeros(5, 8)]
    together = unpacked(torch.stack([packed(row, "int8") for row in rows]))
    assert torch.equal(together[0], unpacked(packed(rows[0], "int8")))
    assert torch.equal(together[1], rows[1])
    for bad in (float("nan"), float("inf")):
        rows[0][2, 3] = bad
        assert not bool(unpacked(packed(rows[0], "int8")).isfinite().all())
