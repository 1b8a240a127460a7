"""Where the workers of a cluster live: one module for each kind of place, all behind `pools.base`."""
