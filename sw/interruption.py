"""A program that is interrupted ends, whatever it waits for.

Python raises Ctrl-C in the main thread, where a callback may swallow it, and at its end waits for
threads of pools, now and then for ever, for processes that are gone. So a thread listens for the
signal itself.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

__all__ = ["CODE", "PATIENCE", "said", "watch"]

CODE = 130
"""Exit code after Ctrl-C."""

PATIENCE = 5
"""Seconds that an interrupted program has to put its things away."""

said = threading.Event()
"""Set when the user has been told."""


def watch() -> None:
    """End this process `PATIENCE` seconds after Ctrl-C, if it has not ended by itself."""
    listens, tells = socket.socketpair()
    tells.setblocking(False)
    # The interpreter writes the signal's number in its C handler, so nothing can swallow it.
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_follow, args=(listens, tells), daemon=True).start()


def _follow(listens: socket.socket, tells: socket.socket) -> None:
    """Wait for the signal; `tells` is held here so that it stays open."""
    while signal.SIGINT not in listens.recv(64):
        pass
    time.sleep(PATIENCE)
    if not said.is_set():
        os.write(2, b"cdmqta: interrupted\n")
    os._exit(CODE)
