"""How an image becomes a process: one small module for each container runtime, all saying the same of themselves.

May import ``environments``' own modules and what these may; knows nothing of sites, queues or the hub.
"""
