"""What tokens may be allowed to do with jobs, in the hub's words."""

from __future__ import annotations

SERVICE = "springtide-broker"
READ = "custom:springtide:jobs:read"
SUBMIT = "custom:springtide:jobs:submit"
ALL = "custom:springtide:jobs:all"
DESCRIPTIONS = {
    READ: {"description": "See your jobs of applications, their logs and outputs"},
    SUBMIT: {"description": "Submit, repeat and cancel jobs of applications", "subscopes": [READ]},
    ALL: {"description": "See and cancel the jobs of all users", "subscopes": [READ]},
}
USE = f"access:services!service={SERVICE}"
