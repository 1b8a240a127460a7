"""Batch queues: what a site's scheduler is asked, in its own dialect, and what it answered.

One folder per family of dialects (`pbs`, `slurm`, `local`), each made of a state table, a few parse functions and the
words of its commands; `base` and `model` are what they have in common, `detect` finds which one a machine has. On top:
`monitor` (one poller for all), `dispatch` (submission through the ledger), `reasons`, `feasible` and `expected`
(explanations), `scripts` (ordinary batch scripts). May import ``ledger``, ``lab``, ``errors``, ``units`` and ``texts``;
knows nothing of ``environments``.
"""
