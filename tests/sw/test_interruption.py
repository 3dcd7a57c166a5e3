"""Ctrl-C ends a program also where something swallows it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sw.interruption import CODE

ROOT = Path(__file__).resolve().parents[2]

DEAF = """
import signal, time
from sw import interruption
interruption.PATIENCE = 0.2
interruption.watch()
signal.signal(signal.SIGINT, lambda *_: None)
{told}
print("ready", flush=True)
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "told, err", [("", "cdmqta: interrupted\n"), ("interruption.said.set()", "")]
)
def test_a_program_that_swallows_it_ends(told: str, err: str) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", DEAF.format(told=told)], text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60) == ("", err)
    assert running.returncode == CODE
