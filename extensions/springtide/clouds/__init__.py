"""Where virtual machines come from: one small module for each kind of cloud, behind the contract in ``base``.

May import ``ledger``, ``lab`` and the ground; knows nothing of queues, environments or Dask.
"""
