"""Virtual machines of an OpenStack cloud, by openstacksdk, which is installed with ``springtide[openstack]``.

Credentials are read from ``clouds.yaml`` by the library itself and stand nowhere else. All that Springtide has to know
of a machine lies in the machine's own metadata, so that any process finds all of them again.
"""

from springtide.clouds.openstack.cloud import OpenStackCloud as OpenStackCloud
from springtide.clouds.openstack.connection import OpenStackSettings as OpenStackSettings
