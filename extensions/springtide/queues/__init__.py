"""Batch queues: what a site's scheduler is asked, in its own dialect, and what it answered.

One module per dialect (``pbspro``, ``torque``, ``slurm``), each made of a state table, a few parse functions and the
words of its commands. May import ``lab``, ``errors``, ``units`` and ``texts``; knows nothing of ``environments``.
"""
