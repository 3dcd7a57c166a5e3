"""The kinds of host operations, and what each does."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np

from hw.isa.numerics import INT8_MAX

from .host import HostState
from .host_attention import (
    collect_module,
    latent,
    module_loss,
    module_weights,
    softmax,
    softmax_backward,
    split_heads,
)
from .host_sums import add_update, drain, sum_sites
from .host_text import collect_text, text_gradients, text_inputs, text_loss, text_weights
from .ir import GraphError, Host, Value
from .shape import Module
from .twice import TRANSPOSED

__all__ = ["KINDS", "check_operations", "run_host"]

_OF_TEXT: dict[str, Callable[[HostState], None]] = {
    "text_inputs": text_inputs,
    "text_loss": text_loss,
    "text_gradients": text_gradients,
}
_OF_MODULES: dict[str, Callable[[HostState, Module], None]] = {
    "latent": latent,
    "heads": split_heads,
    "softmax": softmax,
    "loss": module_loss,
    "softmax_backward": softmax_backward,
}
_OF_SUMS: dict[str, Callable[[HostState, Host], None]] = {
    "sum": sum_sites,
    "add_update": add_update,
}
KINDS = (*_OF_TEXT, *_OF_MODULES, *_OF_SUMS, "weights", "collect", "plain", "drain")
"""Every kind of host operation."""


def check_operations(operations: list[Host]) -> None:
    """Refuse an operation that the host does not know.

    Raises
    ------
    GraphError
        The line names it.
    """
    for op in operations:
        if op.kind not in KINDS:
            raise GraphError(
                f"host operation {op.name} is of kind {op.kind!r}; accepted: {', '.join(KINDS)}"
            )


def run_host(state: HostState, op: Host, declared: Mapping[str, Value]) -> None:
    """Do a host operation: read and write `HostState.values`, and whatever else belongs to it.

    Parameters
    ----------
    declared : dict
        Every value of the step by name.

    Raises
    ------
    GraphError
        The operation does not make what it should.
    InputError
        The loss gives no gradient, or a weight is all zero.
    """
    if op.kind in _OF_TEXT:
        _OF_TEXT[op.kind](state)
    elif op.kind in _OF_MODULES:
        _OF_MODULES[op.kind](state, _module(state, op))
    elif op.kind in _OF_SUMS:
        _OF_SUMS[op.kind](state, op)
    elif op.kind == "drain":
        drain(state, op, declared)
    elif op.kind == "weights":
        _weights(state, op)
    elif op.kind == "plain":
        _plain(state, op, declared)
    else:
        _collect(state, op)
    _check_written(state, op, declared)


def _module(state: HostState, op: Host) -> Module:
    """Return the module whose path is in front of an operation's name."""
    path = op.name.rpartition(".")[0]
    found = [module for module in state.shape.modules if module.path == path]
    if not found:
        raise GraphError(f"host operation {op.name} ({op.kind}) is of no module of the step")
    return found[0]


def _weights(state: HostState, op: Host) -> None:
    text_weights(state)
    for module in state.shape.modules:
        module_weights(state, module)
    for name in op.writes:
        if name.endswith(TRANSPOSED):
            state.values[name] = state.values[name.removesuffix(TRANSPOSED)].T


def _collect(state: HostState, op: Host) -> None:
    """Take what the step gives; of a product that stands for itself, its sums as they are."""
    if op.name == "text.collect":
        collect_text(state)
    elif not op.name.startswith("plain."):
        collect_module(state, _module(state, op))


def _plain(state: HostState, op: Host, declared: Mapping[str, Value]) -> None:
    """Make operands of a product that stands for itself: the name is the seed."""
    for name in op.writes:
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        size = declared[name].rows, declared[name].columns
        state.values[name] = rng.integers(-INT8_MAX, INT8_MAX + 1, size, np.int8)


def _check_written(state: HostState, op: Host, declared: Mapping[str, Value]) -> None:
    for name in op.writes:
        value, made = declared[name], state.values.get(name)
        if made is None:
            raise GraphError(f"host operation {op.name} ({op.kind}) does not make {name}")
        if made.dtype != value.dtype or made.shape != (value.rows, value.columns):
            given = "x".join(map(str, made.shape))
            raise GraphError(
                f"host operation {op.name} ({op.kind}) makes {name} as {made.dtype}[{given}], "
                f"not as {value}"
            )
