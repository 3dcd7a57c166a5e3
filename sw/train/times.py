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

    Raises
    ------
    ValueError
        `total` is not a whole number of at least 1.
    """

    def __init__(self, total: int = 1000) -> None:
        if not isinstance(total, int) or total < 1:
            raise ValueError(f"total must be a whole number of at least 1, not {total!r}")
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
            There are none, or of another number of samples, or one is not from 0 to the last; or
            one is not whole while gradients are wanted. Samplers go through fractions, too, but a
            model that is trained on them counts time in another way, such as from 0 to 1.
        """
        if self._now is None or len(self._now) != len(x):
            raise ValueError(f"{name}: times are needed, one for each of {len(x)} samples")
        times, whole = self._now.double(), torch.is_grad_enabled()
        good = (times >= 0) & (times <= self.total - 1)  # NaN is neither
        if whole:
            good &= times == times.round()
        if not bool(good.all()):
            raise ValueError(
                f"{name}: times must be {'whole numbers ' if whole else ''}from 0 to "
                f"{self.total - 1}, not {times[~good][0].item():g}; `total` says how many there are"
            )
        return times / self.total


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
