"""Amaranth generator of the CDM-QTA systolic array accelerator."""
