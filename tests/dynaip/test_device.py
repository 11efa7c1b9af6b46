"""The device rule, with the accelerators of other machines mocked."""

from __future__ import annotations

import pytest
import torch

from dynaip import device
from dynaip.errors import InputError
from tests.waiting import Waits


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    monkeypatch.delenv(device.VARIABLE, raising=False)


def test_auto_is_the_cpu_where_there_is_nothing_else() -> None:
    assert device.choose() == torch.device("cpu")
    assert device.names() == ["cpu"]


def test_auto_is_the_accelerator(two_gpus: None) -> None:
    assert device.choose("auto") == torch.device("cuda")
    assert device.names() == ["cpu", "cuda:0", "cuda:1"]


def test_the_environment_says_what_auto_means(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, "cuda:1")
    assert device.choose() == torch.device("cuda:1")
    assert device.choose("cpu") == torch.device("cpu")


def test_a_device_in_use_is_inherited(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, "")
    device.use("auto")
    assert device.choose() == torch.device("cuda")
    device.use("cpu")
    device.use("auto")
    assert device.choose() == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:0"])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=rf"device '{name}' is not on this machine; there are cpu$"):
        device.choose(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "banana:1"])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is no device; there are cpu"):
        device.choose(name)


def test_a_number_beyond_the_last_is_refused(two_gpus: None) -> None:
    with pytest.raises(InputError, match="'cuda:2' is not on this machine; there are cpu, cuda:0, cuda:1"):
        device.choose("cuda:2")


def test_a_variable_that_names_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, "cuda:7")
    with pytest.raises(InputError, match="'cuda:7' is not on this machine"):
        device.choose()


def test_a_generating_pipeline_is_float32_on_a_cpu_alone() -> None:
    assert device.default_dtype(torch.device("cpu")) == torch.float32
    assert device.default_dtype(torch.device("cuda")) == torch.bfloat16


class Backbone:
    """Loads a pipeline that notes where it was brought."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def load(self, *, device: object, dtype: torch.dtype) -> Backbone:
        self.told.append(f"load {device} {dtype}")
        return self

    def enable_model_cpu_offload(self, device: torch.device) -> None:
        self.told.append(f"model {device}")

    def enable_sequential_cpu_offload(self, device: torch.device) -> None:
        self.told.append(f"sequential {device}")


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ("none", ["load cuda torch.bfloat16"]),
        ("model", ["load cpu torch.bfloat16", "model cuda"]),
        ("sequential", ["load cpu torch.bfloat16", "sequential cuda"]),
    ],
)
def test_parts_that_are_not_at_work_leave_the_device(
    way: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(device.OFFLOAD, "none")
    device.use("auto", way)
    backbone = Backbone()
    device.load_on(backbone, torch.device("cuda"))
    assert backbone.told == told


def test_nothing_is_offloaded_from_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.OFFLOAD, "model")
    with pytest.raises(InputError, match="this device is a CPU: leave it out"):
        device.load_on(Backbone(), torch.device("cpu"))
    with pytest.raises(InputError, match="offload 'half' must be one of none, model, sequential"):
        device.use("auto", "half")


def test_on_a_cpu_nothing_is_copied() -> None:
    values = torch.ones(3)
    assert device.to_device(values, torch.device("cpu")) is values
    assert device.rows_of(values, [0, 1, 2]) is values
    assert device.rows_of(values, []).shape == (0,)


def test_to_cuda_values_go_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the host goes on: a copy from memory that may be paged out waits for the device."""
    told: list[str] = []
    values = torch.arange(3)

    def pin(self: torch.Tensor) -> torch.Tensor:
        told.append("pinned")
        return self

    def to(self: torch.Tensor, where: torch.device, non_blocking: bool = False) -> torch.Tensor:
        told.append(f"{where} {non_blocking}")
        return self

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    device.to_device(values, torch.device("cuda"))
    device.to_device(values, torch.device("mps"))
    assert told == ["pinned", "cuda True", "mps False"]


class OnCuda:
    """A tensor of a GPU's, as far as a copy to the host asks."""

    is_cuda, shape, dtype, device = True, (3,), torch.float32, torch.device("cuda:1")


def test_a_copy_to_the_host_is_awaited_on_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The current device may be another one, whose stream has nothing to wait for."""
    told: list[str] = []

    class Host:
        def copy_(self, values: object, non_blocking: bool) -> None:
            told.append(f"copied {non_blocking}")

    class Event:
        def record(self, stream: str) -> None:
            told.append(f"recorded {stream}")

        def synchronize(self) -> None:
            told.append("awaited")

    monkeypatch.setattr(torch, "empty", lambda shape, dtype, pin_memory: Host())
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda where: f"stream of {where}")
    copy = device.ToHost(OnCuda())  # pyright: ignore[reportArgumentType]
    assert isinstance(copy.read(), Host)
    assert told == ["copied True", "recorded stream of cuda:1", "awaited"]


def test_values_of_the_host_are_read_as_they_are() -> None:
    values = torch.ones(2)
    assert device.ToHost(values).read() is values


def test_a_device_with_a_number_becomes_the_current_one(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setenv(device.VARIABLE, "")
    monkeypatch.setattr(torch.accelerator, "set_device_index", told.append)
    for name in ("auto", "cpu", "cuda", "cuda:1"):
        device.use(name)
    assert told == [1]


@pytest.mark.parametrize("rows", [[2, 0, 0], [0, 1]])
def test_rows_are_picked_without_waiting(rows: list[int]) -> None:
    values = torch.arange(6.0).view(3, 2)
    assert torch.equal(device.rows_of(values, rows), values[rows])
    there = values.to("meta")
    with Waits() as waits:
        assert device.rows_of(there, rows).shape == (len(rows), 2)
    assert waits.seen == []


def test_what_waits_is_seen() -> None:
    """What ``Waits`` is there to find."""
    there, here = torch.ones(3, 2, device="meta"), torch.ones(3)
    with Waits() as waits:
        there[[2, 0]]
        here.to("meta")
        torch.tensor([1, 2], device="meta")
        torch.empty(3, device="meta").copy_(here)
        with pytest.raises((NotImplementedError, RuntimeError)):
            float(there.sum())
        here.to("meta", non_blocking=True)
        here.sum().item()
    assert [each.partition(" at ")[0] for each in waits.seen] == [
        "a list of places", "aten::_to_copy", "torch.tensor", "aten::copy_", "aten::_local_scalar_dense"
    ]  # fmt: skip
