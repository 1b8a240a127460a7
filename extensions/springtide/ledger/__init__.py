"""What is remembered of all that was submitted or created: jobs, sessions, machines, events, resource use.

SQLAlchemy over SQLite (by default) or PostgreSQL (by URL), with migrations. Knows no queue and no cloud: states and
causes are the plain words of `springtide.queues.model`. May import ``errors``, ``units`` and ``texts``.

`store` is what others use; `records` are its rows as plain values, `place` says where a lab's ledger lies, `usage`
compares what jobs asked for with what they used. The rest is theirs alone.
"""
