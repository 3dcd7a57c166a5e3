"""What the options of ``cdmqta train`` ask for, and which of them have no effect together."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from .train.precision import Method

__all__ = ["TORCH", "TRAINS", "Asked", "need_packages", "refuse_what_has_no_effect"]

TORCH = "torch"
TRAINS = ("lora", "full", "tuneqdm")
_BITS, _EXPERTS = 4, 4
"""Of TuneQDM, where nothing else is asked for."""


def need_packages(task: str | None, backend: str) -> None:
    """Refuse to begin without the packages that are needed at the end.

    Parameters
    ----------
    task : str or None
        Name of a user's function; None for the built-in example.
    backend : str
        Who computes the products.

    Raises
    ------
    click.UsageError
        The message names what is missing.
    """
    needed = ["torch"]
    if backend == TORCH:
        needed += ["tensorboardX"] if task is not None else ["tensorboardX", "matplotlib"]
    if missing := [name for name in needed if find_spec(name) is None]:
        raise click.UsageError(
            f"train needs {' and '.join(missing)}: in the checkout, pip install -e '.[train]'"
        )


class Asked(NamedTuple):
    """What the options say of the way to train; None and False where they say nothing."""

    method_name: str | None
    precision: str | None
    weight_bits: str | None
    experts: int | None
    no_input_scales: bool
    policies: bool

    def method(self) -> Method:
        """Return the way to train.

        Raises
        ------
        click.UsageError
            The options make no sense together.
        """
        from .train.precision import PRECISIONS, SCHEDULES, Method

        if self.policies:
            raise click.UsageError("--policies are for the built-in example")
        name, trains = self.precision or "int8", self.method_name or TRAINS[0]
        if name not in PRECISIONS | SCHEDULES:
            accepted = ", ".join(PRECISIONS | SCHEDULES)
            raise click.UsageError(f"--precision must be one of {accepted}, not {name!r}")
        precision, schedule = SCHEDULES[name] if name in SCHEDULES else (PRECISIONS[name], ())
        tune = trains == "tuneqdm"
        bits = int(self.weight_bits) if self.weight_bits else _BITS if tune else None
        try:
            return Method(
                trains, precision, bits,
                self.experts or (_EXPERTS if tune else 1), not self.no_input_scales, schedule,
            )  # fmt: skip
        except ValueError as error:
            raise click.UsageError(f"--method {trains}: {error}") from None

    def methods(self) -> dict[str, Method]:
        """Return what the example compares: a set, or float and what was asked for.

        Raises
        ------
        click.UsageError
            As `method`, or policies and something else are asked for.
        """
        from .example.runs import methods_of
        from .train.precision import METHODS

        if self.policies:
            if any(self[:-1]):
                raise click.UsageError("--policies are a set of methods: no other is taken")
            return methods_of("schedule")
        if not any(self[1:]) and self.method_name != "full":
            return methods_of(self.method_name or TRAINS[0])
        made = self.method()
        known = {each: name for name, each in METHODS.items()}
        words = (str(value) for value in self if value not in (None, False, True))
        return {"fp32": METHODS["fp32"], known.get(made, "-".join(words)): made}


_WAY = {"trains", "precision", "weight_bits", "experts", "no_input_scales", "policies"}
_ON_A_DEVICE = {"policies", "seed", "seeds", "samples", "output", "learning_rate"}
_DRAM = {"dram_gbps", "dram_latency"}
_OF_A_DEVICE = {"preset", "config_file", "values"} | _DRAM
_WITHOUT_EFFECT = {
    "the built-in example": {"learning_rate", "seed"} | _OF_A_DEVICE,
    "a task of your own": {"seeds", "samples"} | _OF_A_DEVICE,
    "--backend functional": _ON_A_DEVICE | _DRAM,
    "--backend rtl": _ON_A_DEVICE,
    "--backend timing": _ON_A_DEVICE | _WAY | {"steps"},
}
"""Options, by what is trained or computed by whom."""


def refuse_what_has_no_effect(task: str | None, backend: str, trains: str | None) -> None:
    """Refuse options that were given for nothing.

    Parameters
    ----------
    task, backend : as for `need_packages`
    trains : str or None
        What --method says.

    Raises
    ------
    click.UsageError
        The message names the option, and what it is not for.
    """
    kind = f"--backend {backend}"
    if backend == TORCH:
        kind = "the built-in example" if task is None else "a task of your own"
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name in _WITHOUT_EFFECT[kind]:
            raise click.UsageError(f"{parameter.opts[0]} is not for {kind}")
        # Elsewhere there is a rank whatever is trained: of what is compared with, or to be learnt.
        if given and name == "rank" and task is not None and trains not in (None, "lora"):
            raise click.UsageError(f"--rank is for --method lora, not {trains}")
