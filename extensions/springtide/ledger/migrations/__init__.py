"""How a ledger written by an older Springtide becomes one of today.

``versions`` holds one module per step, run by Alembic in the order of their ``down_revision``. A new step is written
by hand after its neighbours, and its ``revision`` becomes `springtide.ledger.migrate.HEAD`. May import nothing of the
rest: a step says what the tables were like when it was written.
"""
