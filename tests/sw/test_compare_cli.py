"""``cdmqta compare``: what it prints, writes and refuses."""

from __future__ import annotations
