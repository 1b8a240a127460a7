"""Why a job waits: the scheduler's own words, put so that a scientist understands them.

A row is a pattern over the words of PBS comments and Slurm reasons, and the text that explains it; the first that
matches is used, and what no row knows is shown as the scheduler said it.
"""

from __future__ import annotations

import re

from springtide.texts import translate

_REASONS = tuple(
    (re.compile(pattern, re.IGNORECASE), key)
    for pattern, key in (
        (r"can never run", "never_runs"),
        (r"insufficient amount of .*ncpus|^resources$|not enough .*(cpu|core|node|proc)s", "cores_taken"),
        (r"insufficient amount of .*mem", "memory_taken"),
        (r"insufficient amount of", "resources_taken"),
        (r"would conflict with top job|^priority$", "others_first"),
        (r"limit reached|maxjobs|MaxCpu|MaxMem|AssocGrp|QOSMax|QOSGrp|AssocMax|user.* run limit", "limit_reached"),
        (r"PartitionTimeLimit|walltime.*exceed", "too_long"),
        (r"PartitionNodeLimit|BadConstraints|PartitionConfig", "never_runs"),
        (r"ReqNodeNotAvail|nodes? (is|are)? ?(down|not available)|PartitionDown|PartitionInactive", "nodes_down"),
        (r"not (been )?started|queue not|scheduling is off", "queue_stopped"),
        (r"depend", "dependency"),
        (r"BeginTime|execution_time|waiting for .*time", "later"),
        (r"held|JobHeld", "held"),
        (r"reservation", "reserved"),
        (r"^none$", "soon"),
    )
)


def explain_reason(words: str, language: str) -> str:
    """Return why a job waits, in `language`; empty where the scheduler gave no reason."""
    if not words:
        return ""
    key = next((key for pattern, key in _REASONS if pattern.search(words)), None)
    return translate(language, f"reasons.{key}") if key else words
