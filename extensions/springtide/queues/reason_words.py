"""What kind of reason the schedulers' words are: those of PBS Pro, Torque, Maui, Slurm and the local queue.

Sources: the scheduler's messages of OpenPBS (fctt in its job_info.cpp, pbs_messages.c), Slurm's job_state_reason.c and
"Job Reason Codes", the sample scheduler of Torque, Maui's checkjob. A row is a pattern and a kind, which is the key of
the text that explains it; the first row that matches counts.
"""

from __future__ import annotations

import re

NEVER = frozenset({"never_runs", "job_limit", "too_long", "node_limit"})
"""Kinds of reasons that waiting does not mend, and figures may explain."""
VAGUE = frozenset({"", "nodes_unfit", "resources_taken"})
"""Kinds that a scheduler also names for what can never run."""

_KINDS = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        # Never.
        (r"can never run: .*(\blimit\b|would exceed)|^MaxMemPerLimit", "job_limit"),
        (r"does not exist", "no_such"),
        (r"can never run|^(BadConstraints|Constraints|PartitionConfig)\b|exceeds (available|partition)", "never_runs"),
        (r"^PartitionNodeLimit", "node_limit"),
        (r"^PartitionTimeLimit|walltime.*exceed|exceed.*walltime", "too_long"),
        (r"^DeadLine\b", "deadline"),
        (r"^DependencyNeverSatisfied|dependency never satisfied", "dependency_never"),
        (r"^(InvalidAccount|AccountNotAllowed)", "account"),
        (r"^(InvalidQOS|QOSNotAllowed)", "qos"),
        (r"^(Assoc|QOS)Max\w+Per(Job|Node)(Limit)?\b", "job_limit"),
        (r"^QOSMin", "too_little"),
        (r"cannot provision", "provision"),
        # Limits of what runs at a time, and budgets.
        (r"^(Assoc|QOS)Grp\w*RunMin", "limit_reached"),
        (r"^(Assoc|QOS)Grp\w*(Minutes|Wall)|^(Association|QOS)TimeLimit|^QOSUsageThreshold", "budget_spent"),
        (r"^(Assoc|QOS)|^Max\w+PerAccount|^AccountingPolicy", "limit_reached"),
        (r"^JobArrayTaskLimit|running subjobs limit|^Array limit", "array_limit"),
        (r"limit (has been )?reached|has reached .*limit|would exceed|maximum number of jobs", "limit_reached"),
        (r"^MaxJobs|^MaxCpu|^MaxMem|violates .*limit|small cpusets|mission .*share|PolicyViolation", "limit_reached"),
        # Nodes and queues that are closed.
        (r"for maintenance|dedicated time", "maintenance"),
        (r"^(ReqNodeNotAvail|NodeDown|FrontEndDown)|nodes required for job|no PBS license", "nodes_down"),
        (r"ineligible state|nodes? (is|are)? ?(down|not available)", "nodes_down"),
        (r"^(PartitionDown|PartitionInactive)|not (been )?started|queue not|scheduling is off", "queue_stopped"),
        (r"^Reservation(Deleted|Invalid)", "reservation_gone"),
        # Held, or for another.
        (r"\bdepend", "dependency"),
        (r"failed attempts|launch failed.*held|requeued.*\bheld|^JobHoldMaxRequeue|^RequeueExitHold", "held_failed"),
        (r"^held: it was started|provisioning failed|security breach", "held_failed"),
        (r"^JobHeldAdmin|Hold_Types = \w*[os]|batch ?hold|system ?hold|deferred", "held_by_admin"),
        (r"(?<![a-z])held(?![a-z])|JobHeld|hold in place|Hold_Types", "held"),
        # Others.
        (r"^BeginTime|execution_time|waiting for .*time", "later"),
        (r"primetime", "primetime"),
        (r"zero shares", "no_share"),
        (r"^Priority\b|top job|strict sorted order|preempt enough|threshold value|draining system", "others_first"),
        (r"backfill job|conflict with existing job", "others_first"),
        (r"reservation", "reserved"),
        (r"^Licenses", "licenses_taken"),
        # What it asks for is taken.
        (r"insufficient amount of .*!=|right type of nodes|total nodes|ineligible type", "nodes_unfit"),
        (r"insufficient amount of .*ncpus|^resources$|not enough .*(cpu|core|node|proc)s", "cores_taken"),
        (r"insufficient (available|idle) procs|idle procs", "cores_taken"),
        (r"insufficient amount of .*gpu", "gpus_taken"),
        (r"insufficient amount of .*mem", "memory_taken"),
        (r"insufficient amount of|no available resources|too few free|placement|exclusive node", "resources_taken"),
        (r"multi-node job|^Power|NoResources|^BurstBufferResources|^nodes not available", "resources_taken"),
        # Starting, and failing to.
        (r"^(Prolog|Cleaning|BurstBufferStageIn|RequeueExit)\b|^Provision", "starting"),
        (r"PBS Error|rejected|^JobLaunchFailure|^SystemFailure|^BurstBufferOperation", "start_failed"),
        (r"scheduling error|failed to run|not in queued state|invalid job", "start_failed"),
        (r"^(NonZeroExitCode|RaisedSignal|InactiveLimit)", "failed_before"),
        (r"^TimeLimit", "timed_out_before"),
        (r"^OutOfMemory", "memory_before"),
        (r"^None$|^(SchedDefer|SchedNotSet|FedJobLock|WaitingForScheduling)\b", "soon"),
    )
)
_INSUFFICIENT = re.compile(
    r"insufficient amount of (?:\w+ )?resource: (\S+) \(R: (\S+) A: \S+ T: (\S+)\)", re.IGNORECASE
)


def kind_of(words: str) -> str:
    """Return the kind of reason that `words` are; empty where nobody knows."""
    return next((kind for pattern, kind in _KINDS if pattern.search(words)), "")


def insufficient_in(words: str) -> tuple[str, str, str] | None:
    """Return resource, amount asked for and amount in all, where PBS says them."""
    match = _INSUFFICIENT.search(words)
    return (match[1], match[2], match[3]) if match else None


def one_line(words: str, longest: int = 300) -> str:
    """Return a scheduler's words so that they can stand within a sentence."""
    kept = "".join(sign if sign.isprintable() else " " for sign in words[:longest])
    return " ".join(kept.split()).rstrip(".")
