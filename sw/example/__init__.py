"""The built-in example: a small diffusion model of shapes, a concept to teach it, and its judges.

Modules of this package import torch as they are imported, except `shapes` and `words`; the rest
of the program imports them where it uses them.
"""
