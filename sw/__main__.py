"""``python -m sw`` is the command line."""

from .cli import entry

entry()
