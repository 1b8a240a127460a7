"""Image registries: what they have, what is sent to them and taken from them, and the lab's own one.

``reference`` reads image references, ``login`` credentials and certificates, ``client`` asks any registry that speaks
the OCI distribution protocol, ``transfer`` sends images with skopeo and pulls them with the engine, ``pins`` says what
has changed there; ``server`` and ``certificates`` are the lab's own registry. May import ``environments``' own modules
and what these may.
"""
