"""One Dask cluster over batch jobs and cloud machines.

`policy` decides how many workers each pool gets: pure functions from an `observation` to a `decision` with its
explanation, run live and by `simulate`, which replays workload traces through the same code.
May import ``queues``, ``clouds``, ``environments``, ``ledger``, ``lab`` and what lies below.
"""
