"""Sweeps of configurations against a workload, and what is worth building."""
