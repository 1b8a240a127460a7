"""The broker: a service of the hub through which sessions submit, watch and cancel jobs of applications.

A session in a container has neither ``qsub`` nor an account on the nodes. It calls this service with its own token, and
the service works as its user: at a `desk` of that user's, whose jobs are submitted by the launcher and whose files are
carried by the porter, both as the user's account. Nothing of it is kept in the process: ledger, queue and folders have
the truth, so that it may be killed at any time.

``app`` is the REST interface, ``service`` the program that the hub starts. The other end, in sessions, is
`springtide.jobs.remote`. Nothing but ``app``, ``service`` and the routes knows of HTTP.
"""
