"""Workload traces replayed through the policy, beside simpler rules and a clairvoyant lower bound.

`swf` reads traces, `easy` is the batch queue, `replay` lets every job of a trace be one small cluster whose observation
goes to `springtide.cluster.policy.decide` (or to one of `rules`), `bound` says what nobody can do better, `figures`
what came out. Pure Python: only `plot` needs matplotlib.
"""
