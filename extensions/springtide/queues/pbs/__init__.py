"""The PBS family: `pro` is PBS Pro and OpenPBS, `torque` is Torque; `header` and `words` are what both share."""
