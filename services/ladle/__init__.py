"""Ladle's services: placement, and what stands around it."""

__version__ = "0.1.0"
