"""Kernels of any environment, under any runtime, from a session of another one.

`provisioner` is what Jupyter calls; each kernel it starts has a companion process, which outlives nobody: `guard` for
one on this machine, `batch_kernel` for one that is a batch job. A companion ends its kernel, and all that the kernel
has started, when its server asks for it or is no longer there. May import what stands below ``hub``.
"""
