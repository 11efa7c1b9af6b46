"""Names of models: folders, bundles, hub ids, and one line for everything else."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from dynaip.errors import InputError
from dynaip.models import bundle_folder, is_here, local_folder, resolve


def test_a_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "microworld").mkdir()
    assert resolve("microworld", "pipeline") == Path("microworld")
    assert resolve(tmp_path, "pipeline") == tmp_path


def test_a_hub_id_stays_a_string() -> None:
    assert resolve("black-forest-labs/FLUX.1-dev", "pipeline") == "black-forest-labs/FLUX.1-dev"


@pytest.mark.parametrize("name", ["microwrld", "no/such/folder", "a b/c", ""])
def test_anything_else_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no bundle \(.*microworld.*\) and no hub id") as caught:
        resolve(name, "pipeline") if name else resolve("nothing", "pipeline")
    assert "\n" not in str(caught.value)
    if name == "microwrld":
        assert "Did you mean microworld" in str(caught.value)


def test_a_bundle_without_the_part_says_so() -> None:
    with pytest.raises(InputError, match="the bundle microworld has no engine"):
        bundle_folder("microworld", "engine")


def test_a_part_of_a_bundle_can_be_named() -> None:
    vision = resolve("microworld", "vision")
    assert isinstance(vision, Path) and resolve("microworld/vision", "pipeline") == vision
    assert is_here("microworld/vision") and not is_here("acme/vision")
    with pytest.raises(InputError, match="the bundle microworld has no engine"):
        resolve("microworld/engine", "vision")


def test_the_hub_gives_a_folder_or_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot_download(name: str, revision: str | None = None) -> str:
        asked.append((name, revision))
        if name == "acme/gone":
            raise LocalEntryNotFoundError("first line\nsecond line")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert local_folder("acme/adapter", "adapter", revision="v1") == tmp_path
    assert asked == [("acme/adapter", "v1")]
    with pytest.raises(InputError, match="acme/gone: not a folder here, and the hub does not give it") as caught:
        local_folder("acme/gone", "adapter")
    assert "\n" not in str(caught.value)
