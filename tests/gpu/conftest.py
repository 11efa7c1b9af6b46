"""Everything here needs an accelerator; what becomes of a test is told at once to whoever runs all of it."""

from __future__ import annotations

import os

import pytest
import torch

from tests.gpu.rows import from_environment

CPU = "cpu"


def tried_on() -> str:
    """The device that somebody wants the tests to be tried on: a CPU shows that they work, and nothing of a GPU."""
    return os.environ.get("DYNAIP_GPU_TESTS_ON", "")


@pytest.fixture(autouse=True)
def _accelerator(request: pytest.FixtureRequest) -> None:
    if not torch.accelerator.is_available() and tried_on() != CPU:
        pytest.skip("no accelerator on this machine")


@pytest.fixture
def device() -> torch.device:
    """The accelerator."""
    from dynaip.device import choose

    return torch.device(CPU) if tried_on() == CPU else choose()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell what will come."""
    if teller := from_environment():
        teller.plan([name(item.nodeid) for item in items])


def pytest_runtest_logstart(nodeid: str) -> None:
    """Tell what runs."""
    if teller := from_environment():
        teller.begun(name(nodeid))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell what became of it."""
    teller = from_environment()
    if teller is None or not (report.when == "call" or report.skipped or report.failed):
        return
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        teller.failed(name(report.nodeid), str(crash.message if crash else report.longrepr)[:300])
    elif report.skipped:
        told = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        teller.left_out(name(report.nodeid), str(told))
    else:
        teller.done(name(report.nodeid), report.duration, test=True)


def name(nodeid: str) -> str:
    """A test's name without the folder."""
    return nodeid.rpartition("/")[2]
