"""The bundle names its parts, and what ships is small."""

from __future__ import annotations

import pytest

from dynaip.errors import InputError
from dynaip_plugins.microworld.bundle import ASSETS, PARTS, MicroworldBundle

shipped = pytest.mark.skipif(not (ASSETS / "oracle").is_dir(), reason="no weights in this checkout")


def test_bundle_names_its_parts_and_says_what_is_missing(tmp_path) -> None:
    bundle = MicroworldBundle(root=tmp_path)
    (tmp_path / "vision").mkdir()
    assert bundle.folder("vision") == tmp_path / "vision"
    with pytest.raises(KeyError, match=", ".join(PARTS)):
        bundle.folder("vae")
    with pytest.raises(InputError, match="dynaip microworld build"):
        bundle.folder("oracle")


@pytest.mark.parametrize("there", [[], ["pipeline"], ["oracle"]])
def test_a_folder_that_lacks_a_part_is_not_measured(tmp_path, there: list[str]) -> None:
    for part in there:
        (tmp_path / part).mkdir()
    missing = "oracle" if "pipeline" in there else "pipeline"
    with pytest.raises(InputError, match=f"{missing} is missing; `dynaip microworld build` makes it"):
        MicroworldBundle(root=tmp_path).measure(tmp_path, count=1)


@shipped
def test_shipped_weights_are_small_and_half() -> None:
    files = list(ASSETS.rglob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) < 20.5e6  # packed they take less: the wheel has a limit of its own
    assert not list(ASSETS.rglob("*.bin")) and not list(ASSETS.rglob("*.pt"))
