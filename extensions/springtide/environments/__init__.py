"""What sessions run in: the container images and the virtual environments, how they are named, found and built.

``catalog`` names them, ``engine`` asks the Docker Engine, ``build`` makes images (``recipe`` reads a recipe's folder,
``debian`` makes the layer below all images), ``host`` makes virtual environments for sites without containers,
``registry`` sends images and takes them, ``packages`` says what is in them and whether two are the same.
May import ``lab``, ``share``, ``units`` and ``errors``; knows nothing of queues or the hub.

What sessions, workers and jobs call needs no Docker: `this_image`, `same_image`.
"""

from springtide.environments.packages import Packages, ThisImage, same_image, this_image

__all__ = ["Packages", "ThisImage", "same_image", "this_image"]
