"""What administrators and scripts touch: the ``springtide`` command. May import everything."""
