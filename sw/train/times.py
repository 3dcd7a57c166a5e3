"""Times of noise of the samples of a batch, for whatever differs by them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Times", "by_key"]


class Times:
    """The time of each sample of the batch that a denoiser is called with.

    Parameters
    ----------
    total : int
        Steps of noise: times are from 0 to that, less one.
    """

    def __init__(self, total: int = 1000) -> None:
        self.total = total
        self._now: Tensor | None = None

    def set(self, times: Tensor) -> None:
        """Take the times (samples,) of a batch."""
        self._now = times

    def of(self, x: Tensor, name: str) -> Tensor:
        """Return the times of the samples that x (samples, ...) is of, float64 from 0 to 1.

        Raises
        ------
        ValueError
            There are none, or of another number of samples.
        """
        if self._now is None or len(self._now) != len(x):
            raise ValueError(f"{name}: times are needed, one for each of {len(x)} samples")
        return self._now.double() / self.total


def by_key(
    keys: Tensor | None, tensors: tuple[Tensor, ...], function: Callable[..., Tensor]
) -> Tensor:
    """Apply a function to the samples of each key, and put its results in the samples' order.

    Parameters
    ----------
    keys : int64 (samples,), or None
        None: all samples at once, with key 0.
    tensors : tuple of tensors (samples, ...)
    function : callable
        Called with a key and the tensors' samples.
    """
    if keys is None:
        return function(0, *tensors)
    parts = [(keys == key).nonzero()[:, 0] for key in keys.unique().tolist()]
    outputs = [
        function(int(keys[part[0]]), *(tensor[part] for tensor in tensors)) for part in parts
    ]
    return torch.cat(outputs)[torch.cat(parts).argsort()]
