"""What sessions run in: the container images and the virtual environments, how they are named, found and built.

``catalog`` names them, ``engine`` asks the Docker Engine, ``build`` makes images (``recipe`` reads a recipe's folder,
``debian`` makes the layer below all images), ``host`` makes virtual environments for sites without containers.
May import ``lab``, ``share``, ``units`` and ``errors``; knows nothing of queues or the hub.
"""
