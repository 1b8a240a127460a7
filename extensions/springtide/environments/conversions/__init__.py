"""Images converted into what runtimes without an engine take, each once by its digest, in a folder machines share.

``cache`` is the cache, ``claims`` lets one of many processes convert, ``entries`` is what lies there; ``sources`` and
``saved`` say where images come from, ``layout`` how they lie on disk meanwhile, ``forms`` and ``layers`` convert them,
``scratch`` has room for that. May import ``environments``' own modules and what these may.
"""

from springtide.environments.conversions.cache import ConversionCache as ConversionCache
from springtide.environments.conversions.entries import Entry as Entry
from springtide.environments.conversions.sources import FromRegistry as FromRegistry
from springtide.environments.conversions.sources import Source as Source
