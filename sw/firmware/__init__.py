"""The accelerator for firmware: a C header from the tables of `hw.isa`, and a small C99 runtime."""
