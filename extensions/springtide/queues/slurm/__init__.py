"""Slurm: `queue` through its own commands, `pbs` through the PBS commands of slurm-wlm-torque alone."""
