"""Training with products of chosen layers in the accelerator's integers. Needs torch."""
