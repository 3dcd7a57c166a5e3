"""What a user of `cdmqta train module:function` writes."""

from .small_task import make_task


def small():
    """Return a task."""
    return make_task()


def nothing():
    """Return something else."""
    return 3


def unmatched():
    """Return a task whose layers are not there."""
    task = make_task()
    task.match = ("*.to_k",)
    return task


def not_finite():
    """Return a task whose loss is not a number."""
    task = make_task()
    honest = task.losses
    task.losses = lambda draw: {"loss": honest(draw)["loss"] * float("nan")}
    return task


def lossless():
    """Return a task that gives no loss."""
    task = make_task()
    task.losses = lambda draw: {}
    return task
