"""A small OpenStack on loopback, as far as openstacksdk asks it: its machines are on paper, or real ones by QEMU."""
