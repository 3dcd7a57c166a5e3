"""Golden model of a cross-attention module's part of a step: chip and host in turn, in INT8.

Keys and values come from the text group and their gradients go back there (text.py). The keys and
values of each sample's first token are detached, as Custom Diffusion has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from . import attention, attention_host
from .attention import Sizes
from .attention_host import TextCopies
from .numerics import absmax, quantise
from .site import Operand

__all__ = ["History", "ModuleBackward", "ModuleForward", "module_backward", "module_forward"]

LEVELS = 127


@dataclass(frozen=True)
class History:
    """Largest sums of an earlier step.

    Members
    -------
    scores, dp : Fraction
        Of K Q and V dO.
    margin : number
    """

    scores: Fraction
    dp: Fraction
    margin: Fraction = Fraction(5, 4)


@dataclass(frozen=True)
class ModuleForward:
    """Everything up to the module's output.

    Members
    -------
    sizes : Sizes
    wq, wo : Operand
        (C, C), outputs x inputs.
    x : Operand
        (C, b n), by latent token.
    k, v : float64 (b h t, d)
    k_copies, v_copies : TextCopies
    q_scale : float64 (h, b n)
        Of Q.token.
    p : float64 (b h t, n)
    p_scale : float64 (h, b n)
        Of P.token.
    o_scale : float64 (1, b n)
        Of O.token.
    values : dict of Tensor
        What the segments `scores` and `values` read and write.
    """

    sizes: Sizes
    wq: Operand
    wo: Operand
    x: Operand
    k: Tensor
    v: Tensor
    k_copies: TextCopies
    v_copies: TextCopies
    q_scale: Tensor
    p: Tensor
    p_scale: Tensor
    o_scale: Tensor
    values: dict[str, Tensor]

    @property
    def out(self) -> Tensor:
        """The real output, float64 (C, b n)."""
        return self.values["out"].double() * self.wo.scale * self.o_scale


@dataclass(frozen=True)
class ModuleBackward:
    """Everything from the output's gradient on.

    Members
    -------
    forward : ModuleForward
    dy : Operand
        (C, b n), by latent token.
    do_scale : float64 (h, b n)
        Of dO.token.
    ds : float64 (b h t, n)
        Gradient of the products K Q.
    ds_scale, dq_scale : float64 (h, b n), (1, b n)
        Of dS.token and dQ.token.
    dk_scale, dv_scale : float64 (b h t, 1)
        Of the sums dK and dV.
    values : dict of Tensor
        What the segments `dscores` and `gradients` read and write.
    """

    forward: ModuleForward
    dy: Operand
    do_scale: Tensor
    ds: Tensor
    ds_scale: Tensor
    dq_scale: Tensor
    dk_scale: Tensor
    dv_scale: Tensor
    values: dict[str, Tensor]

    @property
    def history(self) -> History:
        """What the next step may take its scales from."""
        known = self.forward.values | self.values
        scores, dp = (
            attention_host.largest_seen(known[name], known[f"{name}.entry"]) for name in ("S", "dP")
        )
        return History(scores, dp)

    @property
    def dx(self) -> Tensor:
        """The real gradient of the latent tokens, float64 (C, b n)."""
        return self.values["dX"].double() * self.forward.wq.scale * self.dq_scale

    @property
    def dk(self) -> Tensor:
        """The real gradient of the keys, heads merged, float64 (b t, C); first tokens are zero."""
        return self._text("dK", self.dk_scale)

    @property
    def dv(self) -> Tensor:
        """The real gradient of the values, as `dk`."""
        return self._text("dV", self.dv_scale)

    def _text(self, name: str, scale: Tensor) -> Tensor:
        sizes = self.forward.sizes
        merged = attention_host.merge_heads(self.values[name].double() * scale, sizes)
        merged[:: sizes.text] = 0
        return merged


def module_forward(
    x: Tensor,
    k: Tensor,
    v: Tensor,
    wq: Tensor,
    wo: Tensor,
    sizes: Sizes,
    history: History | None = None,
) -> ModuleForward:
    """Run the module's output.

    Parameters
    ----------
    x : float (C, b n)
    k, v : float (b t, C)
    wq, wo : float (C, C)
        Outputs x inputs.
    sizes : Sizes
    history : History or None
        None in a first step: the scale of scores is then that of the largest sum there can be.
    """
    host = attention_host
    q_weight, o_weight, tokens = (
        Operand(*quantise(each, axis), absmax(each, axis))
        for each, axis in ((wq, "tensor"), (wo, "tensor"), (x, "column"))
    )
    k, v = (host.split_heads(each.double(), sizes) for each in (k, v))
    k_copies, v_copies = host.text_copies(k, sizes), host.text_copies(v, sizes)
    known = {
        "X.token": tokens.values,
        "Wq": q_weight.values,
        "Wo": o_weight.values,
        "K.row": k_copies.row,
        "V.column": v_copies.column,
        "V.unit": v_copies.unit,
        "S.entry": host.tensor_entry(*_expected(k_copies, history and history.scores, history)),
    }
    known |= attention.scores(known, sizes)
    q_scale = known["Q.maxima"].double() / LEVELS * q_weight.scale * tokens.scale
    p = host.softmax(known["S"], known["S.entry"], k_copies.row_scale, q_scale, sizes)
    known["P.token"], p_scale = host.windows_by_column(p, sizes)
    p_scale = host.by_head(p_scale, sizes)
    o_scale = host.latent_scale(p, v, sizes)
    known["O.entries"] = host.latent_entries(p_scale, v_copies, o_scale, sizes)
    known |= attention.values(known, sizes)
    return ModuleForward(
        sizes, q_weight, o_weight, tokens, k, v, k_copies, v_copies, q_scale, p, p_scale, o_scale,
        known,
    )  # fmt: skip


def module_backward(
    forward: ModuleForward, dy: Tensor, history: History | None = None
) -> ModuleBackward:
    """Run the gradients of latent tokens, keys and values.

    Parameters
    ----------
    forward : ModuleForward
    dy : float (C, b n)
    history : as in `module_forward`
    """
    host, sizes, p = attention_host, forward.sizes, forward.p
    gradient = Operand(*quantise(dy, "column"), absmax(dy, "column"))
    k_copies, v_copies = forward.k_copies, forward.v_copies
    known = {
        "dY.token": gradient.values,
        "V.row": v_copies.row,
        "K.column": k_copies.column,
        "K.unit": k_copies.unit,
        "dP.entry": host.tensor_entry(*_expected(v_copies, history and history.dp, history)),
    }
    known |= attention.dscores(forward.values | known, sizes)
    do_scale = known["dO.maxima"].double() / LEVELS * forward.wo.scale * gradient.scale
    ds = host.softmax_backward(
        p, known["dP"], known["dP.entry"], v_copies.row_scale, do_scale, sizes
    )
    known["dS.token"], ds_scale = host.windows_by_column(ds, sizes)
    ds_scale = host.by_head(ds_scale, sizes)
    # Latent tokens are what dK and dV reduce, so their other operands' scales go in here.
    known["dS.text"], dk_scale = quantise(ds * host.by_window(forward.q_scale, sizes), "row")
    known["P.text"], dv_scale = quantise(p * host.by_window(do_scale, sizes), "row")
    dq_scale = host.latent_scale(ds, forward.k, sizes)
    known["dQ.entries"] = host.latent_entries(ds_scale, k_copies, dq_scale, sizes)
    known |= attention.gradients(forward.values | known, sizes)
    return ModuleBackward(
        forward, gradient, do_scale, ds, ds_scale, dq_scale, dk_scale, dv_scale, known
    )


def _expected(
    copies: TextCopies, seen: Fraction | None, history: History | None
) -> tuple[Fraction | int, Fraction | int]:
    """Return the maximum of sums that a copy by tensor is made for, and the margin."""
    bound = attention_host.largest_sum(copies.row)
    if history is None or not seen or seen * history.margin > bound:
        return bound, 1
    return seen, history.margin
