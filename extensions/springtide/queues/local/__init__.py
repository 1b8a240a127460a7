"""This machine's own queue: processes with slots, memory and time limits, kept across restarts of its owner.

`queue` is what the rest of Springtide uses; `program` is the command ``springtide-local-queue``, `keeper` starts jobs,
`shepherd` looks after one. The standard library alone, so that the command starts fast.
"""
