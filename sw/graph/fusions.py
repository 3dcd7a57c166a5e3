"""Which fusions a step is compiled with."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .ir import GraphError

__all__ = ["Fusions"]


@dataclass(frozen=True)
class Fusions:
    """Switches; results have the same bits whichever are on.

    Members
    -------
    stream : bool
        The weights of all sites, ``[W_k | W_v ...]``, are one operand: the text streams by once.
        Off: a product for each site.
    low_rank : bool
        ``H = X.[A_1 ... A_n]``, ``dA = X^T.[dH_1 ... dH_n]`` and gradients of B, all sites at once.
        Off: the text streams by for each site.
    update : bool
        ``H.B^T`` is added to ``X.W``, and ``dH.A^T`` to ``dY.W^T``, in the output memory. Off: the
        host adds.
    sum_dx : bool
        dX of all sites is summed in the output memory. Off: the host adds, the update too.
    drain : bool
        The array makes copies as it drains results. Off: the host makes them of sums.
    heads : bool
        All samples and heads of attention are one program. Off: one for each.
    """

    stream: bool = True
    low_rank: bool = True
    update: bool = True
    sum_dx: bool = True
    drain: bool = True
    heads: bool = True

    @classmethod
    def names(cls) -> list[str]:
        """Return the names as users write them."""
        return [each.name.replace("_", "-") for each in fields(cls)]

    @classmethod
    def parse(cls, text: str) -> Fusions:
        """Return what ``all``, ``none``, a list of names, or one with a ``-`` before each says.

        Names alone are those that are on; names with ``-`` are off, and all others on.

        Raises
        ------
        GraphError
            The text is none of these.
        """
        names = cls.names()
        if text in ("all", "none"):
            return cls(*[text == "all"] * len(names))
        items = [item.strip() for item in text.split(",")]
        off = [item.startswith("-") for item in items]
        found = [item.removeprefix("-") for item in items]
        if not set(found) <= set(names) or any(off) != all(off):
            raise GraphError(
                f"fusions must be all, none, or some of {','.join(names)}, or such with - before "
                f"each that is off, not {text!r}"
            )
        return cls(*((name in found) != all(off) for name in names))

    def __str__(self) -> str:
        off = [name for name in self.names() if not getattr(self, name.replace("-", "_"))]
        if not off:
            return "all"
        return "none" if len(off) == len(self.names()) else ",".join(f"-{name}" for name in off)
