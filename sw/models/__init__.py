"""Workloads from models: a description or a torch module gives every product of a training step."""

from .layers import Reading
from .load import load_model, load_step
from .product import ModelError, Product, Role, TrainingStep
from .training import training_step
from .unet import DESCRIPTIONS, UNet
from .walk import walk

__all__ = [
    "DESCRIPTIONS",
    "ModelError",
    "Product",
    "Reading",
    "Role",
    "TrainingStep",
    "UNet",
    "load_model",
    "load_step",
    "training_step",
    "walk",
]
