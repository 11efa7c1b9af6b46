"""Ray that is slow to start on a busy machine, does not start, or is not there; Ray itself is a stand-in."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from dynaip.config import ComponentSpec
from dynaip.errors import DynaIPError
from dynaip.notes import caught
from dynaip.registry import registry
from dynaip_plugins.executors.ray import model


class Ray:
    """Starts at an attempt of this number (never: 0); each one before it takes some seconds and leaves a process behind."""

    def __init__(self, clock: list[float], starts_at: int, seconds: float = 31.0) -> None:
        self.clock, self.starts_at, self.seconds = clock, starts_at, seconds
        self.offers, self.left = list[dict[str, Any]](), list[subprocess.Popen[bytes]]()

    def is_initialized(self) -> bool:
        return False

    def init(self, address: str, **offers: Any) -> None:
        self.offers.append({"address": address, **offers})
        if len(self.offers) == self.starts_at:
            return
        self.clock[0] += self.seconds
        self.left.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"]))
        raise Exception("The current node timed out during startup.\nThis could happen")

    def shutdown(self) -> None:
        pass


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start an executor on a stand-in; gives the stand-in and what was told."""
    clock = [0.0]

    def start(*given: Any, address: str = "local", start_seconds: float = 100, **more: Any) -> tuple[Ray, list[str]]:
        fake = Ray(clock, *given, **more)
        monkeypatch.setattr(model, "import_module", lambda name: fake)
        monkeypatch.setattr(model, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "1")
        options = {"use": "ray", "address": address, "start_seconds": start_seconds, "machine_cpus": 2}
        with caught() as notes:
            try:
                registry().build(ComponentSpec.parse("executor", options))._ray()
            finally:
                for process in fake.left:
                    began = time.monotonic()
                    while psutil.pid_exists(process.pid) and process.poll() is None:
                        assert time.monotonic() - began < 20, "what a failed start left goes on"
        return fake, [line for _, line in notes]

    return start


def test_a_slow_start_is_waited_for_and_told(begun: Any) -> None:
    fake, said = begun(3)
    assert [(each["address"], each["num_cpus"]) for each in fake.offers] == 3 * [("local", 2)]
    assert said == [
        f"Ray did not start within {seconds} s and is started again, for up to 100 s" for seconds in (31, 62)
    ]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, r"^executor\.start_seconds: Ray did not start on this machine within 124 s \(Exception: The .*: raise it"),
        (
            {"seconds": 1.0},
            r"^executor ray: Ray does not start on this machine \(Exception: The current node timed out",
        ),
        ({"address": "auto"}, r"^executor\.address auto: no Ray cluster there \(Exception: The current"),
    ],
)
def test_one_that_does_not_come_is_one_line(begun: Any, given: dict[str, Any], line: str) -> None:
    with pytest.raises(DynaIPError, match=line) as told:
        begun(0, **given)
    assert "\n" not in str(told.value)
