"""``cdmqta compare``: what it prints, writes and refuses."""

from __future__ import annotations

import importlib.util
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from sw.compare.plot import draw_bars
from sw.compare.roofline import draw_roofline, roofline_rows
from sw.compare.step import ALL_MODELS, compare
from sw.cost import Prices
from sw.models import load_step

from .test_cost import Stopwatch
from .test_compare import PAPER_ARRAY
