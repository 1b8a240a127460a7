"""The lab file: what the administrator writes, read into typed, frozen values.

May import ``errors`` and ``units`` only.
"""
