"""What tests of the analyses share."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of the test's own: what it draws does not depend on which tests ran before."""
    return np.random.default_rng(0)
