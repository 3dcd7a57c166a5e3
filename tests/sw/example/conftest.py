"""A tiny example, which trains in seconds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sw.example.diffusion import Diffusion
from sw.example.judge import Judge, judge
from sw.example.kept import seeded
from sw.example.size import Size

TINY = replace(Size.tiny(), steps=6)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Keep models in a folder of the test."""
    monkeypatch.setenv("CDMQTA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "example"


@pytest.fixture
def model() -> Diffusion:
    """Return a tiny denoiser without training."""
    return seeded(lambda: Diffusion(TINY), 0)


@pytest.fixture(scope="session")
def tiny_judge(tmp_path_factory) -> Judge:
    """Return a judge that learnt as long as a tiny example lets it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDMQTA_CACHE", str(tmp_path_factory.mktemp("judge")))
        return judge(Size.tiny())
