"""Real virtual machines on this machine, by QEMU: for demos, tests, and labs with a spare hypervisor host.

No daemon: all that is known of a machine lies in its folder, so that any process finds all of them again. The machines
start from an environment's own container image, with a kernel from Debian and a small init in front of it.
"""

from springtide.clouds.qemu.cloud import QemuCloud as QemuCloud
from springtide.clouds.qemu.cloud import QemuSettings as QemuSettings
from springtide.clouds.qemu.image import GuestImage as GuestImage
from springtide.clouds.qemu.image import build_image as build_image
