"""Where the LoRA sites that share their input lie side by side."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Layout", "TextSite"]


@dataclass(frozen=True)
class TextSite:
    """Float weights of a site: w (D, C), not all zero; a (D, r); b (r, C)."""

    w: Tensor
    a: Tensor
    b: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the sites lie.

    Members
    -------
    widths : tuple of int
        C of each site.
    rank : int
    unit : int
        U: groups, and columns of a site, start at multiples of it.
    """

    widths: tuple[int, ...]
    rank: int
    unit: int

    @property
    def sites(self) -> range:
        """Numbers of the sites."""
        return range(len(self.widths))

    @property
    def group_sites(self) -> int:
        """How many sites share a group."""
        return max(1, self.unit // self.rank)

    @property
    def group_places(self) -> int:
        """Places of a group along the axis of ranks."""
        return self._places(self.rank)

    @property
    def places(self) -> int:
        """L, length of the axis of ranks."""
        return -(-len(self.widths) // self.group_sites) * self.group_places

    def group(self, site: int) -> slice:
        """Return the places of the site's group."""
        start = site // self.group_sites * self.group_places
        return slice(start, start + self.group_places)

    def ranks(self, site: int) -> slice:
        """Return the site's places along the axis of ranks."""
        start = self.group(site).start + site % self.group_sites * self.rank
        return slice(start, start + self.rank)

    def columns(self, site: int) -> slice:
        """Return the site's places along the axis of outputs."""
        start = sum(self._places(width) for width in self.widths[:site])
        return slice(start, start + self.widths[site])

    @property
    def outputs(self) -> int:
        """Length of the axis of outputs."""
        return sum(self._places(width) for width in self.widths)

    def _places(self, size: int) -> int:
        return -(-size // self.unit) * self.unit
