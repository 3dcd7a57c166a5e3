"""Config: every limit, every message, the presets and the digest."""

from __future__ import annotations

import dataclasses
import re

import pytest

from hw.isa.config import PRESETS, Config, ConfigError

WIDE = Config(bus_bytes=16, input_depth=512, weight_depth=256, output_depth=256)
"""A configuration in which each value may be at either of its limits, while the others stay."""
LIMITS = {
    "rows": (2, 256),
    "columns": (2, 256),
    "weight_stationary": (0, 1),
    "output_stationary": (0, 1),
    "drain_overlap": (0, 1),
    "product_register": (0, 1),
    "macs_per_element": (1, 4),
    "input_depth": (4, 32768),
    "weight_depth": (4, 32768),
    "output_depth": (4, 32768),
    "accumulate_scale_depth": (4, 65536),
    "row_scale_depth": (4, 65536),
    "column_scale_depth": (2, 65536),
    "bus_bytes": (4, 128),
    "address_bits": (16, 48),
    "burst_beats": (1, 256),
    "read_outstanding": (1, 64),
    "write_outstanding": (1, 64),
    "queue_depth": (2, 64),
    "token_bits": (2, 8),
    "clock_mhz": (1, 10000),
    "dram_latency": (1, 100000),
    "dram_gbps": (0.0, 1e6),
}
POWERS_OF_TWO = (
    "macs_per_element", "input_depth", "weight_depth", "output_depth", "accumulate_scale_depth",
    "row_scale_depth", "column_scale_depth", "bus_bytes",
)  # fmt: skip
SIMULATED = ("clock_mhz", "dram_latency", "dram_gbps")
WHOLE = [name for name in LIMITS if name != "dram_gbps"]
ACCEPTED = ", ".join(LIMITS)
KIB = 1024


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def test_an_array_without_a_dataflow_is_refused():
    message = (
        "weight_stationary 0 and output_stationary 0 leave the array no dataflow: one of them "
        "must be 1"
    )
    with pytest.raises(ConfigError, match=exactly(message)):
        Config(weight_stationary=0, output_stationary=0)


def test_the_table_of_limits_is_complete():
    assert Config.names() == tuple(LIMITS)


@pytest.mark.parametrize("name", LIMITS)
def test_both_limits_are_accepted(name):
    for limit in LIMITS[name]:
        assert getattr(WIDE.replace(**{name: limit}), name) == limit


@pytest.mark.parametrize("name", WHOLE)
def test_values_past_the_limits(name):
    low, high = LIMITS[name]
    with pytest.raises(ConfigError, match=exactly(f"{name} must be at least {low}, not {low - 1}")):
        Config(**{name: low - 1})
    with pytest.raises(
        ConfigError, match=exactly(f"{name} must be at most {high}, not {high + 1}")
    ):
        Config(**{name: high + 1})


@pytest.mark.parametrize(
    "value,message",
    [
        (-0.5, "dram_gbps must be at least 0.0, not -0.5"),
        (float("nan"), "dram_gbps must be at least 0.0, not nan"),
        (float("inf"), "dram_gbps must be at most 1000000.0, not inf"),
        (1_000_001, "dram_gbps must be at most 1000000.0, not 1000001"),
        ("12.8", "dram_gbps must be a number, not '12.8'"),
        (True, "dram_gbps must be a number, not True"),
        (None, "dram_gbps must be a number, not None"),
    ],
)
def test_bandwidths_that_are_none(value, message):
    with pytest.raises(ConfigError, match=exactly(message)):
        Config(dram_gbps=value)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", ["8", 8.0, True, None, [8]])
def test_values_of_another_type(name, value):
    """Type is checked before value; a truth value is no number."""
    with pytest.raises(ConfigError, match=exactly(f"{name} must be a whole number, not {value!r}")):
        Config(**{name: value})


@pytest.mark.parametrize("name", WHOLE)
def test_powers_of_two(name):
    odd = LIMITS[name][1] - 1 if name != "bus_bytes" else 12
    if name not in POWERS_OF_TWO:
        assert getattr(WIDE.replace(**{name: odd}), name) == odd
        return
    with pytest.raises(ConfigError, match=exactly(f"{name} must be a power of two, not {odd}")):
        Config(**{name: odd})


def test_a_burst_that_crosses_the_axi_boundary():
    message = (
        "burst_beats 65 of bus_bytes 64 cross the 4096-byte AXI boundary: "
        "burst_beats must be at most 64"
    )
    with pytest.raises(ConfigError, match=exactly(message)):
        Config(bus_bytes=64, burst_beats=65)
    assert Config(bus_bytes=64, burst_beats=64).burst_beats == 64


DEEP = {"weight_depth": 256, "output_depth": 256}
"""Room for the tiles of any array, so that what streams alone decides."""


def test_a_bus_that_cannot_feed_the_array():
    message = (
        "a stationary tile of rows 64 x columns 17 takes 192 cycles of a bus of bus_bytes 8, and "
        "the longest stream that input_depth 64 holds lasts 128: no load can hide under it; "
        "raise bus_bytes or input_depth"
    )
    with pytest.raises(ConfigError, match=exactly(message)):
        Config(rows=64, columns=17)
    assert Config(rows=64, columns=16).tile_cycles == 128
    assert Config(rows=64, columns=17, input_depth=128).tile_cycles == 192
    with pytest.raises(ConfigError, match="takes 130 cycles of a bus of bus_bytes 8"):
        Config(rows=65, columns=9, **DEEP)
    assert Config(rows=65, columns=9, bus_bytes=16, input_depth=128, **DEEP).tile_cycles == 65


@pytest.mark.parametrize(
    "memory,what",
    [
        ("weight", "a stationary tile"),
        ("output", "a tile of sums"),
        ("input", "the shortest stream that keeps the array busy"),
    ],
)
def test_a_memory_that_cannot_feed_the_array(memory, what):
    enough = dict.fromkeys(("input_depth", "weight_depth", "output_depth"), 128)
    message = (
        f"{what} of rows 65 takes 65 words of the {memory} memory, and half of it holds "
        f"{memory}_depth 64: raise {memory}_depth"
    )
    with pytest.raises(ConfigError, match=exactly(message)):
        Config(rows=65, **(enough | {f"{memory}_depth": 64}))
    assert getattr(Config(rows=64, **(enough | {f"{memory}_depth": 64})), f"{memory}_depth") == 64


def test_the_stream_that_hides_a_load():
    """Tiles of 64x64 bytes on a bus of 64 bytes, at whatever the DRAM gives."""
    paper = Config.preset("paper")
    assert paper.break_even_rows == 64
    assert paper.replace(dram_gbps=25.6).break_even_rows == 64
    assert paper.replace(dram_gbps=51.2).break_even_rows == 64
    assert paper.replace(dram_gbps=12.8).break_even_rows == 128
    assert paper.replace(dram_gbps=12.9).break_even_rows == 128
    assert paper.replace(dram_gbps=12.7).break_even_rows == 130
    # A row of 40 bytes takes a beat of 64.
    assert paper.replace(columns=40, dram_gbps=12.8).break_even_rows == 128
    assert Config(rows=4, columns=9).break_even_rows == 8


def test_a_configuration_that_the_dram_bounds():
    assert all(config.dram_bound is None for config in PRESETS.values())
    paper = Config.preset("paper")
    assert paper.replace(dram_gbps=25.6).dram_bound is None, "64 bytes a cycle, as the bus"
    waits = (
        "DRAM of dram_gbps {} at clock_mhz 400 brings a stationary tile of 64x64 (4096 bytes in "
        "beats) in {} cycles, and the shortest fold takes 64: products that stream fewer than {} "
        "rows of the left operand to a tile wait for it"
    )
    for gbps, cycles in (("25.5", 65), ("12.8", 128), ("0.2", 8192)):
        found = paper.replace(dram_gbps=float(gbps))
        assert found.break_even_rows == cycles <= found.longest_stream == 8192
        assert found.dram_bound == waits.format(gbps, cycles, cycles)
    assert paper.replace(dram_gbps=0.1999).dram_bound == (
        waits.format("0.1999", 8197, 8197) + "; all do, for input_depth 4096 holds no more than "
        "8192"
    )


def test_a_configuration_that_the_bus_bounds():
    """Rows of 9 bytes are two beats of 8: a tile of 4 rows takes 8 cycles, whatever DRAM gives."""
    for gbps in (0.0, 3.2, 100.0):
        assert Config(rows=4, columns=9, dram_gbps=gbps).dram_bound == (
            "a bus of bus_bytes 8 brings a stationary tile of 4x9 (64 bytes in beats) in 8 cycles, "
            "and the shortest fold takes 4: products that stream fewer than 8 rows of the left "
            "operand to a tile wait for it"
        )
    assert Config(rows=4, columns=8).dram_bound is None


def test_unknown_keys():
    message = exactly(f"unknown configuration key 'rose'; accepted: {ACCEPTED}")
    for attempt in (
        lambda: Config().replace(rose=4),
        lambda: Config().parse("rose", "4"),
        lambda: Config.from_mapping({"rows": 4, "rose": 4}),
    ):
        with pytest.raises(ConfigError, match=message):
            attempt()


def test_a_key_that_is_called_like_an_argument():
    message = exactly(f"unknown configuration key 'self'; accepted: {ACCEPTED}")
    with pytest.raises(ConfigError, match=message):
        Config().parse("self", "4")


def test_the_first_unknown_key_is_named():
    with pytest.raises(ConfigError, match="^unknown configuration key 'aisles'; accepted: rows, "):
        Config().replace(rose=1, aisles=2)


def test_unknown_presets():
    message = exactly("unknown preset 'huge'; accepted: tiny, small, paper")
    with pytest.raises(ConfigError, match=message):
        Config.preset("huge")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("text", ["four", "4.0", "", "0x10", "4 4"])
def test_text_that_is_no_whole_number(name, text):
    with pytest.raises(ConfigError, match=exactly(f"{name} must be a whole number, not {text!r}")):
        Config().parse(name, text)


def test_text_that_is_no_number():
    with pytest.raises(ConfigError, match=exactly("dram_gbps must be a number, not 'fast'")):
        Config().parse("dram_gbps", "fast")


def test_text_is_checked_like_values():
    assert Config().parse("rows", "16") == Config(rows=16)
    assert Config().parse("dram_gbps", "12.8").dram_gbps == 12.8
    with pytest.raises(ConfigError, match=exactly("rows must be at least 2, not 1")):
        Config().parse("rows", "1")


def test_replacing_checks_everything_again():
    wide = Config(bus_bytes=128, burst_beats=16)
    with pytest.raises(ConfigError, match="^burst_beats 64 of bus_bytes 128 cross"):
        wide.replace(burst_beats=64)
    assert wide.replace(burst_beats=64, bus_bytes=64).burst_beats == 64
    assert wide.burst_beats == 16


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().rows = 8


@pytest.mark.parametrize("name", PRESETS)
def test_mappings_round_trip(name):
    config = Config.preset(name)
    assert Config.from_mapping(config.to_mapping()) == config
    assert tuple(config.to_mapping()) == Config.names()


@pytest.mark.parametrize("name,size", [("tiny", 4), ("small", 16), ("paper", 64)])
def test_preset_arrays_are_square(name, size):
    config = Config.preset(name)
    assert (config.rows, config.columns) == (size, size)


def test_the_paper_preset_has_the_memories_of_the_paper():
    paper = Config.preset("paper")
    sizes = paper.input_bytes, paper.weight_bytes, paper.output_bytes
    assert sizes == (512 * KIB, 512 * KIB, 1024 * KIB)


def test_memory_sizes_of_an_oblong_array():
    config = Config(rows=3, columns=5, input_depth=8, weight_depth=16, output_depth=32)
    assert config.input_bytes == 2 * 8 * 3
    assert config.weight_bytes == 2 * 16 * 5
    assert config.output_bytes == 2 * 32 * 5 * 4


def test_tiny_is_the_default():
    assert Config.preset("tiny") == Config()


def test_bandwidth_in_bytes_a_cycle():
    assert Config().dram_bytes_per_cycle is None
    assert Config(dram_gbps=12.8, clock_mhz=400).dram_bytes_per_cycle == 32.0
    assert Config(dram_gbps=1, clock_mhz=1000).dram_bytes_per_cycle == 1.0


def test_digests_are_16_hexadecimal_digits_and_differ_between_presets():
    digests = [config.digest() for config in PRESETS.values()]
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)
    assert len(set(digests)) == len(PRESETS)


@pytest.mark.parametrize("name", SIMULATED)
def test_the_digest_ignores_what_only_simulation_knows(name):
    assert Config().replace(**{name: 77}).digest() == Config().digest()


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in SIMULATED])
def test_the_digest_changes_with_all_hardware(name):
    low, high = LIMITS[name]
    assert WIDE.replace(**{name: low}).digest() != WIDE.replace(**{name: high}).digest()
