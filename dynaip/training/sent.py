"""Numbers on their way from the device to the host, which does not wait for them."""

from __future__ import annotations

import torch
from torch import Tensor


class Sent:
    """A few numbers that the device computes; ``read`` waits for them alone, not for what is launched behind them."""

    def __init__(self, values: Tensor) -> None:
        """``values`` (one dimension, float32) are sent at once."""
        self._host, self._arrived = values, None
        if values.is_cuda:
            # Copied beside what is launched next: asking the tensor itself would wait for that, too.
            self._host = torch.empty(len(values), pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def read(self) -> list[float]:
        """The numbers."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host.tolist()
