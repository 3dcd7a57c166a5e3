"""First pass: the products of one LoRA site, as matrix products of named INT8 copies.

With X n x d1, W d1 x d2, A d1 x r, B r x d2 and dY n x d2 (all as they multiply)::

    H  = X.A             dH = dY.B^T
    Y  = X.W + H.B       dX = dY.W^T + dH.A^T
    dA = X^T.dH          dB = dY^T.H        (d2 x r: the gradient of B, transposed)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Gemm", "Site", "View", "site_products"]


@dataclass(frozen=True)
class View:
    """A matrix as it enters a product: a tensor, or its transpose.

    Members
    -------
    tensor : str
        Name of the INT8 copy, such as ``X.row``.
    rows, columns : int
        Of the matrix as it multiplies.
    transposed : bool
        Whether the tensor is the transpose of this matrix.
    packed : bool
        Whether its elements lie in DRAM with four bits.
    """

    tensor: str
    rows: int
    columns: int
    transposed: bool = False
    packed: bool = False

    @property
    def T(self) -> View:
        """The transposed view."""
        return replace(self, rows=self.columns, columns=self.rows, transposed=not self.transposed)

    @property
    def lies(self) -> tuple[int, int]:
        """Rows and columns of the tensor itself."""
        return (self.columns, self.rows) if self.transposed else (self.rows, self.columns)

    def __str__(self) -> str:
        return f"{self.tensor}{'^T' if self.transposed else ''}"


@dataclass(frozen=True)
class Gemm:
    """``left . right``, then, with `update`, plus a second product scaled row by row.

    Raises
    ------
    ValueError
        The shapes of the views do not multiply, or the update has another shape.
    """

    name: str
    left: View
    right: View
    update: Gemm | None = None

    def __post_init__(self) -> None:
        if self.left.columns != self.right.rows:
            raise ValueError(
                f"{self.name}: {self.left} has {self.left.columns} columns, "
                f"but {self.right} has {self.right.rows} rows"
            )
        if self.update is not None and (self.update.m, self.update.n) != (self.m, self.n):
            raise ValueError(
                f"{self.name} is {self.m}x{self.n}, "
                f"but its update is {self.update.m}x{self.update.n}"
            )

    @property
    def m(self) -> int:
        """Rows of the result."""
        return self.left.rows

    @property
    def k(self) -> int:
        """Length of the reduction, without the update's."""
        return self.left.columns

    @property
    def n(self) -> int:
        """Columns of the result."""
        return self.right.columns

    @property
    def macs(self) -> int:
        """Multiply-accumulates, the update's included."""
        return self.m * self.k * self.n + (self.update.macs if self.update else 0)

    def __str__(self) -> str:
        update = f" + g.({self.update.left} . {self.update.right})" if self.update else ""
        return f"{self.name} = {self.left} . {self.right}{update}  {self.m}x{self.k}x{self.n}"


@dataclass(frozen=True)
class Site:
    """Sizes of one LoRA site.

    Members
    -------
    n, d1, d2, r : int
        Tokens, width in, width out, rank.

    Raises
    ------
    ValueError
        A size is not a whole number of at least 1.
    """

    n: int
    d1: int
    d2: int
    r: int

    def __post_init__(self) -> None:
        for name in ("n", "d1", "d2", "r"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")

    @property
    def inputs(self) -> dict[str, tuple[int, int]]:
        """Shape of each INT8 copy that comes from the host."""
        return {
            "X.row": (self.n, self.d1),
            "X.column": (self.n, self.d1),
            "dY.row": (self.n, self.d2),
            "dY.column": (self.n, self.d2),
            "W": (self.d1, self.d2),
            "A": (self.d1, self.r),
            "B": (self.r, self.d2),
        }

    @property
    def copies(self) -> dict[str, tuple[int, int]]:
        """Shape of each INT8 copy that is made on the chip."""
        names = ("H.row", "H.column", "dH.row", "dH.column")
        return dict.fromkeys(names, (self.n, self.r))

    def view(self, tensor: str) -> View:
        """Return a tensor as it lies."""
        return View(tensor, *(self.inputs | self.copies)[tensor])

    def __str__(self) -> str:
        return f"LoRA site n={self.n} d1={self.d1} d2={self.d2} r={self.r}"


def site_products(site: Site) -> tuple[Gemm, ...]:
    """Return the six products, in an order in which each finds its operands made.

    Every operand is the copy whose scale lies on an axis that is not reduced: row copies on the
    left of H, Y, dH and dX; column copies in dA and dB; W, A and B per tensor.
    """
    view = site.view
    low_rank = Gemm("H.B", view("H.row"), view("B"))
    low_rank_gradient = Gemm("dH.A^T", view("dH.row"), view("A").T)
    return (
        Gemm("H", view("X.row"), view("A")),
        Gemm("dH", view("dY.row"), view("B").T),
        Gemm("Y", view("X.row"), view("W"), low_rank),
        Gemm("dX", view("dY.row"), view("W").T, low_rank_gradient),
        Gemm("dA", view("X.column").T, view("dH.column")),
        Gemm("dB", view("dY.column").T, view("H.column")),
    )
