"""Tests of the hardware in gates."""
