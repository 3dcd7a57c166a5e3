"""What all errors of this package have in common."""

__all__ = ["SynthError"]


class SynthError(ValueError):
    """What was given cannot be used; the message is one line that says why."""
