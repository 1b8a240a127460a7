"""Springtide: one notebook desk over a lab's machine, its batch cluster and its cloud account."""

__version__ = "0.1.0"
