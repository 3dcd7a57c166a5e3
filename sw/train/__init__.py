"""Training with every matrix product in the accelerator's own integer arithmetic. Needs torch."""
