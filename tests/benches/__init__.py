"""Benchmarks: ``make bench`` runs them and writes what they measured into BENCHMARKS.md.

Each ``bench_*`` function measures one thing beside what it is compared with, in turns (A B A B), on real services.
``make bench ARGS="-k containers"`` runs one of them. With ``SPRINGTIDE_BENCH=quick`` the numbers of repetitions are
small and the tables are only printed: for trying the benchmarks themselves.
"""
