"""Schedulers' words for why a job waits and how it ended, put in people's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import springtide.texts
from springtide.queues.model import Cause, JobInfo, JobState, Node, QueueLimits, Used
from springtide.queues.pbs.pro_jobs import parse_jobs
from springtide.queues.reasons import explain, explain_end, explain_reason
from springtide.texts import LANGUAGES

GIB = 2**30
DATA = Path(__file__).parents[1] / "data"
TEXTS = Path(springtide.texts.__file__).parent


def node(name: str, cores: int = 4, free: int = 4, memory: int = 8 * GIB, **more: Any) -> Node:
    values: dict[str, Any] = {"usable": True, "state": "free", "free_memory_bytes": memory, **more}
    return Node(name, cores=cores, free_cores=free, memory_bytes=memory, **values)


NODES = (node("n1"), node("n2", free=1), node("n3", free=0))
QUEUES = (
    QueueLimits("work", default=True, walltime_s=24 * 3600),
    QueueLimits("long", walltime_s=7 * 86400),
    QueueLimits("stopped", started=False),
)


def waiting(reason: str = "", state: JobState = JobState.QUEUED, **more: Any) -> JobInfo:
    usual: dict[str, Any] = {"cores": 1, "node_count": 1, "memory_bytes": GIB, "walltime_s": 3600, "queue": "work"}
    return JobInfo("7", state, reason=reason, **{**usual, **more})


def ended(cause: Cause | None, **more: Any) -> JobInfo:
    return JobInfo("7", JobState.FINISHED, cause=cause, owner="marie", **more)


WORDS = [
    # PBS Pro.
    ("Not Running: Insufficient amount of resource: ncpus (R: 4 A: 3 T: 12)", "cores are taken"),
    ("Not Running: Insufficient amount of resource: ncpus ", "cores are taken"),
    ("Not Running: Not enough free nodes available", "cores are taken"),
    ("Not Running: Insufficient amount of resource: mem", "Not enough memory"),
    ("Not Running: Insufficient amount of resource: ngpus (R: 1 A: 0 T: 2)", "GPUs are taken"),
    ("Not Running: Insufficient amount of server resource: scratch (R: 2 A: 1 T: 4)", "What it asks for is taken"),
    ("Not Running: Insufficient amount of resource: bigmem (True != False)", "of the kind"),
    ("Can Never Run: Insufficient amount of resource: ncpus (R: 400 A: 12 T: 12)", "more than any node"),
    ("Can Never Run: can't fit in the largest placement set, and can't span psets", "more than any node"),
    ("Can Never Run: would exceed user marie's limit on resource ncpus in complex", "more than one job may have"),
    ("Not Running: Not enough total nodes available", "of the kind"),
    ("Not Running: Queue not started.", "stopped the queue"),
    ("Not Running: Queue not an execution queue.", "stopped the queue"),
    ("Not Running: Queue work job limit has been reached.", "limits allow"),
    ("Not Running: User has reached server running job limit.", "limits allow"),
    ("Not Running: Project has reached queue work's running limit.", "limits allow"),
    ("Not Running: Queue work per-user limit reached on resource ncpus", "limits allow"),
    ("Not Running: would exceed group lisa's limit on resource ncpus in queue work", "limits allow"),
    ("Not Running: Maximum number of jobs for user marie already in complex", "limits allow"),
    ("Not Running: Node has reached user run limit", "limits allow"),
    ("Not Running: Number of concurrent running subjobs limit reached", "jobs of its array"),
    ("Not Running: Dedicated time conflict", "maintenance"),
    ("Not Running: Job would cross dedicated time boundary", "maintenance"),
    ("Not Running: Job would interfere with a top job", "higher priority"),
    ("Not Running: Job would break strict sorted order", "higher priority"),
    ("Not Running: Job would conflict with reservation or top job", "higher priority"),
    ("Not Running: Can't preempt enough work to run job", "higher priority"),
    ("Not Running: Job is under job_sort_formula threshold value", "higher priority"),
    ("Not Running: Job would interfere with a confirmed reservation: R12.pbs", "reservation"),
    ("Not Running: Job will run in primetime only", "other hours"),
    ("Not Running: Job will cross into nonprimetime", "other hours"),
    ("Not Running: Specified vnode does not exist: n99", "does not exist"),
    ("Not Running: No available resources on nodes", "What it asks for is taken"),
    ("Not Running: Job has zero shares for fairshare", "no share"),
    ("Not Running: Node is in an ineligible state: offline", "down or reserved"),
    ("Not Running: Node is of an ineligible type: cluster", "of the kind"),
    ("Not Running: 7 is requesting an exclusive node and node is in use", "What it asks for is taken"),
    ("Not Running: Node can't satisfy a multi-node job", "What it asks for is taken"),
    ("Not Running: Node ineligible because job requested pack placement and won't fit on node", "What it asks"),
    ("Not Running: host set n1 has too few free resources", "What it asks for is taken"),
    ("Not Running: Cannot provision, requested AOE rhel not available on vnode", "another system"),
    ("Not Running: Provision conflict with existing job/reservation", "higher priority"),
    ("Not Running: PBS Error: Execution server rejected request", "failed"),
    ("Not Running: Internal Scheduling Error", "failed"),
    ("Job held by root on Mon Nov 23 13:54:10 2026", "is held"),
    ("job held, too many failed attempts to run", "failed to start"),
    ("held: Hold_Types = u", "its owner"),
    ("held: Hold_Types = os", "only the administrator"),
    ("depend = afterok:12.pbs", "another job"),
    ("Execution_Time = Tue Nov 24 13:54:10 2026 UTC", "later time"),
    # Torque and Maui.
    ("Not Running: Not enough of the right type of nodes available", "of the kind"),
    ("Not Running: Draining system to allow 12.server to run", "higher priority"),
    ("job violates idle HARD MAXJOB limit of 10 for user marie (Req: 1 InUse: 10)", "limits allow"),
    ("cannot start job: insufficient idle procs available: 0 < 4", "cores are taken"),
    ("job exceeds available partition procs", "more than any node"),
    ("BatchHold: NoResources", "only the administrator"),
    # The local queue.
    ("Can never run: asks for 64 cores and 1G; this machine has 4 cores and 8G", "more than any node"),
    ("Not enough free cores: asks for 4, 1 of 4 are free", "cores are taken"),
    ("Insufficient amount of memory: asks for 4G, 1G is free", "Not enough memory"),
    ("Dependency: waits for job 12 to end with exit status 0", "another job"),
    ("Waiting for its start time, 2026-11-24 13:54:10 CET", "later time"),
    ("Array limit reached: 2 at once", "jobs of its array"),
    ("Would conflict with top job 12", "higher priority"),
    ("Held by its owner", "its owner"),
    ("Held: it was started 5 times", "failed to start"),
    # Slurm.
    ("Resources", "cores are taken"),
    ("Priority", "higher priority"),
    ("Dependency", "another job"),
    ("DependencyNeverSatisfied", "can never start"),
    ("BeginTime", "later time"),
    ("JobHeldUser", "its owner"),
    ("JobHeldAdmin", "only the administrator"),
    ("JobHoldMaxRequeue", "started again too often"),
    ("launch failed requeued held", "failed to start"),
    ("job_requeued_in_held_state", "is held"),
    ("BadConstraints", "more than any node"),
    ("PartitionConfig", "more than any node"),
    ("PartitionTimeLimit", "more time than the queue"),
    ("PartitionNodeLimit", "more nodes than the queue"),
    ("PartitionDown", "stopped the queue"),
    ("PartitionInactive", "stopped the queue"),
    ("ReqNodeNotAvail, UnavailableNodes:n1", "down or reserved"),
    ("ReqNodeNotAvail, Reserved for maintenance", "maintenance"),
    ("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", "down or"),
    ("NodeDown", "down or reserved"),
    ("FrontEndDown", "down or reserved"),
    ("Reservation", "reservation"),
    ("ReservationDeleted", "gone"),
    ("Licenses", "licences"),
    ("InvalidAccount", "account"),
    ("AccountNotAllowed", "account"),
    ("InvalidQOS", "QOS"),
    ("QOSNotAllowed", "QOS"),
    ("QOSMinCpuNotSatisfied", "less than a job must"),
    ("QOSMaxCpuPerJobLimit", "more than one job may"),
    ("QOSMaxWallDurationPerJobLimit", "more than one job may"),
    ("AssocMaxMemPerNode", "more than one job may"),
    ("MaxMemPerLimit", "more than one job may"),
    ("QOSMaxCpuPerUserLimit", "limits allow"),
    ("QOSMaxJobsPerUserLimit", "limits allow"),
    ("AssocGrpCpuLimit", "limits allow"),
    ("AssocGrpCPURunMinutesLimit", "limits allow"),
    ("AssocMaxJobsLimit", "limits allow"),
    ("AssociationJobLimit", "limits allow"),
    ("AssociationResourceLimit", "limits allow"),
    ("QOSResourceLimit", "limits allow"),
    ("QOSJobLimit", "limits allow"),
    ("MaxGRESPerAccount", "limits allow"),
    ("AccountingPolicy", "limits allow"),
    ("AssocGrpCPUMinutesLimit", "used up"),
    ("QOSGrpWallLimit", "used up"),
    ("AssociationTimeLimit", "used up"),
    ("QOSTimeLimit", "used up"),
    ("QOSUsageThreshold", "used up"),
    ("JobArrayTaskLimit", "jobs of its array"),
    ("Prolog", "starts soon"),
    ("Cleaning", "starts soon"),
    ("BurstBufferStageIn", "starts soon"),
    ("BurstBufferResources", "What it asks for is taken"),
    ("PowerNotAvail", "What it asks for is taken"),
    ("JobLaunchFailure", "failed"),
    ("SystemFailure", "failed"),
    ("NonZeroExitCode", "ended with an error"),
    ("InactiveLimit", "ended with an error"),
    ("TimeLimit", "longer than it had asked"),
    ("OutOfMemory", "more memory"),
    ("DeadLine", "deadline"),
    ("None", "not looked at it"),
    ("WaitingForScheduling", "not looked at it"),
    # Nobody knows.
    ("Something nobody knows", "Something nobody knows"),
    ("", ""),
]


@pytest.mark.parametrize(("words", "said"), WORDS)
def test_known_words_are_explained_and_unknown_ones_kept(words: str, said: str) -> None:
    assert said in explain_reason(words, "en")
    assert bool(explain_reason(words, "fr")) is bool(words)
    assert (explain_reason(words, "fr") != explain_reason(words, "en")) is bool(words and said != words)


@pytest.mark.parametrize("words", [words for words, _ in WORDS if words])
@pytest.mark.parametrize("language", LANGUAGES)
def test_each_reason_of_a_waiting_job_gets_a_sentence(words: str, language: str) -> None:
    found = explain(waiting(words), NODES, QUEUES, language)
    assert found.reason == words
    assert found.sentence


NEVER = "Can Never Run: Insufficient amount of resource: ncpus (R: 400 A: 12 T: 12)"
WITH_FIGURES = [
    (
        waiting(NEVER, cores=400),
        "It asks for 400 cores; the largest node has 4.",
        "Ask for at most 4 cores per node; all nodes together have 12.",
    ),
    (
        waiting(NEVER, cores=8),
        "It asks for 8 cores; the largest node has 4.",
        "Ask for at most 4 cores per node, or for several nodes.",
    ),
    (
        waiting("BadConstraints", cores=16, node_count=2),
        "It asks for 8 cores on each of 2 nodes; the largest node has 4.",
        "Ask for at most 4 cores per node; all nodes together have 12.",
    ),
    (
        waiting("BadConstraints", memory_bytes=64 * GIB),
        "It asks for 64G of memory on a node; the largest node has 8G.",
        "Ask for at most 8G per node, or spread it over several nodes.",
    ),
    (
        waiting("PartitionTimeLimit", walltime_s=48 * 3600),
        "It asks for 2 d; the queue work allows 1 d.",
        "Ask for at most 1 d, and save results",
    ),
    (waiting("PartitionTimeLimit"), "more time than the queue allows", "ask for less time"),
    # Torque's scheduler says no more than this of a job that never fits.
    (
        waiting("Not Running: Not enough of the right type of nodes available", cores=8),
        "It asks for 8 cores; the largest node has 4.",
        "Ask for at most 4 cores",
    ),
    (waiting("", cores=8), "It asks for 8 cores; the largest node has 4.", "at most 4 cores"),
    (waiting("", cores=4, node_count=2), "", ""),
    (
        waiting("Resources", cores=8, node_count=2),
        "cores are taken",
        "5 of 12 cores are free now, at most 4 on one node; it asks for 8.",
    ),
    (
        waiting("", cores=6, node_count=2),
        "cores are taken",
        "5 of 12 cores are free now, at most 4 on one node; it asks for 6.",
    ),
    (waiting("AssocGrpCpuLimit"), "limits allow", "It starts by itself"),
    (waiting("", queue="stopped"), "stopped the queue", "Queues that are open: work, long."),
    (waiting("", JobState.HELD), "is held", "qrls"),
    (waiting("", JobState.WAITING), "start time, or for another job", ""),
    (waiting("Dependency", JobState.WAITING), "another job", ""),
    (waiting("DependencyNeverSatisfied", cause=Cause.DEPENDENCY), "can never start", "submit both again"),
    (waiting("Priority", cause=Cause.REQUEUED), "again from the beginning. Jobs with a higher", "less time"),
    (waiting("nobody knows\nthis.", cause=None), "nobody knows this", ""),
    (waiting("", JobState.RUNNING), "", ""),
    (waiting("", JobState.SUSPENDED), "suspended", ""),
]


@pytest.mark.parametrize(("job", "sentence", "advice"), WITH_FIGURES)
def test_a_waiting_job_is_explained_with_figures(job: JobInfo, sentence: str, advice: str) -> None:
    found = explain(job, NODES, QUEUES, "en")
    assert sentence in found.sentence
    assert advice in found.advice
    assert bool(found.sentence) is bool(sentence)
    assert bool(found.advice) is bool(advice)
    french = explain(job, NODES, QUEUES, "fr")
    assert (bool(french.sentence), bool(french.advice)) == (bool(sentence), bool(advice))


def test_without_nodes_the_figures_are_the_schedulers() -> None:
    found = explain(waiting(NEVER, cores=400), (), (), "en")
    assert "400 (cores); the cluster has 12" in found.sentence
    assert "at most 12" in found.advice
    assert "400 (cœurs) ; le cluster a 12" in explain(waiting(NEVER, cores=400), (), (), "fr").sentence


def test_memory_is_told_in_people_s_units() -> None:
    words = "Can Never Run: Insufficient amount of resource: mem (R: 8388608kb A: 4194304kb T: 4194304kb)"
    found = explain(waiting(words), (), (), "en")
    assert found.sentence == "It asks for more than there is: 8G (memory); the cluster has 4G."


def test_no_figures_contradict_the_sentence() -> None:
    assert explain(waiting("Resources"), NODES, QUEUES, "en").advice == ""


def test_a_node_that_is_down_does_not_make_a_job_impossible() -> None:
    nodes = (node("n1"), node("big", cores=64, free=0, usable=False, state="down"))
    found = explain(waiting("ReqNodeNotAvail, UnavailableNodes:big", cores=64), nodes, QUEUES, "en")
    assert "down or reserved" in found.sentence
    assert "1 of 2 nodes" in found.advice


def test_memory_is_named_where_only_memory_lacks() -> None:
    nodes = (node("n1", free_memory_bytes=GIB), node("n2", free_memory_bytes=2 * GIB))
    found = explain(waiting("Resources", memory_bytes=4 * GIB), nodes, QUEUES, "en")
    assert "Not enough memory" in found.sentence
    assert "asks for 4G on a node; the most that is free on one is 2G" in found.advice


def test_nodes_of_other_queues_do_not_count() -> None:
    nodes = (node("n1"), node("big", cores=64, queues=("long",)))
    found = explain(waiting(NEVER, cores=8), nodes, QUEUES, "en")
    assert found.sentence == "It asks for 8 cores; the largest node has 4."


def test_the_recorded_jobs_of_a_real_openpbs_are_explained() -> None:
    said = {}
    for name in ("qstat-fxt.dsv", "qstat-f-estimated.dsv"):
        for job in parse_jobs((DATA / "openpbs" / name).read_text(encoding="utf-8"), "|delimiter|"):
            said[job.id.partition(".")[0]] = explain(job, (), (), "en").sentence
    assert said["70"] == "It was cancelled by the administrator (root)."
    assert said["2"] == "It ran longer than the 5 s it had asked for: ask for more, or save results in between."
    assert "was restarted while it ran" in said["62"]
    assert "failed while it ran" in said["67"]
    assert "cores are taken" in said["116"]
    assert said["114"] == ""


ENDS = [
    (ended(Cause.EXIT, exit_status=0), "without error (exit status 0)", "sans erreur"),
    (ended(Cause.EXIT, exit_status=3), "exit status 3", "code de sortie 3"),
    (ended(Cause.EXIT, exit_status=126), "could not be executed", "n’a pas pu être exécutée"),
    (ended(Cause.EXIT, exit_status=127), "was not found (exit status 127)", "introuvable"),
    (ended(Cause.EXIT, exit_status=137), "signal KILL (exit status 137)", "signal KILL"),
    (ended(Cause.EXIT), "exit status is not known", "inconnu"),
    (ended(None, exit_status=2), "exit status 2", "code de sortie 2"),
    (ended(Cause.SIGNAL, exit_status=137), "signal KILL (exit status 137), often", "souvent"),
    (ended(Cause.SIGNAL, exit_status=139), "crashed", "planté"),
    (ended(Cause.SIGNAL, exit_status=143), "asked it to end", "demandé de finir"),
    (ended(Cause.SIGNAL, exit_status=138), "signal USR1", "signal USR1"),
    (ended(Cause.SIGNAL, exit_status=128 + 63), "signal 63", "signal 63"),
    (ended(Cause.SIGNAL), "a signal; nobody", "un signal"),
    (ended(Cause.SIGNAL, reason="(it used more CPU time than it had asked for)"), "more CPU time", "processeur"),
    (
        ended(Cause.WALLTIME, walltime_s=7200),
        "It ran longer than the 2 h it had asked for: ask for more, or save results in between.",
        "les 2 h demandés",
    ),
    (ended(Cause.WALLTIME), "longer than it was allowed", "que permis"),
    (ended(Cause.WALLTIME, reason="DEADLINE"), "deadline", "échéance"),
    (
        ended(Cause.MEMORY, memory_bytes=4 * GIB, used=Used(memory_bytes=5 * GIB)),
        "used 5G of memory; it had asked for 4G",
        "utilisé 5G",
    ),
    (ended(Cause.MEMORY, memory_bytes=4 * GIB, used=Used(memory_bytes=GIB)), "more memory than the 4G", "les 4G"),
    (ended(Cause.MEMORY), "than it was given", "qu’elle n’en a eu"),
    (ended(Cause.CANCELLED), "It was cancelled.", "annulée."),
    (ended(Cause.CANCELLED, cancelled_by="paul"), "cancelled by paul", "par paul"),
    (ended(Cause.CANCELLED, cancelled_by="marie"), "by its owner, marie", "par son propriétaire, marie"),
    (ended(Cause.CANCELLED, cancelled_by="root"), "by the administrator (root)", "par l’administrateur"),
    (ended(Cause.CANCELLED, reason="PREEMPTED"), "higher priority", "plus prioritaire"),
    (ended(Cause.DEPENDENCY), "a job it was to follow", "devait suivre"),
    (ended(Cause.NEVER_RUNS), "could not start it", "n’a pas pu"),
    (ended(Cause.NEVER_RUNS, reason="/x: No such file."), "says: /x: No such file.", "dit : /x: No such file."),
    (ended(Cause.NEVER_RUNS, reason="(it could not be started)"), "its node could not start it", "son nœud"),
    (ended(Cause.NEVER_RUNS, reason="(its account or group is not valid on the node)"), "not accepted", "refusé"),
    (ended(Cause.NEVER_RUNS, reason="(a hook of the site refused it)"), "A rule of the site", "Une règle du site"),
    (ended(Cause.LOST), "is not known: its node failed", "On ne sait pas"),
    (ended(Cause.LOST, reason="The queue was removed"), "says: The queue was removed. Look", "Regardez sa sortie"),
    (ended(Cause.LOST, reason="NODE_FAIL", nodes=("n7",)), "Its node (n7) failed", "Son nœud (n7)"),
    (ended(Cause.LOST, reason="NODE_FAIL (NodeDown)"), "Its node failed", "Son nœud est tombé"),
    (ended(Cause.LOST, reason="The machine was restarted"), "was restarted", "redémarré"),
    (ended(Cause.LOST, reason="FAILED (JobLaunchFailure)"), "could not start it", "n’a pas pu la lancer"),
    (ended(Cause.REQUEUED), "put back into the queue", "remise dans la file"),
    (ended(None), "How it ended is not known.", "On ne sait pas comment"),
    (ended(None, reason="qsub: Unknown\nqueue"), "says: qsub: Unknown queue.", "dit : qsub: Unknown queue."),
    (waiting("Resources"), "How it ended is not known.", "On ne sait pas comment"),
]


@pytest.mark.parametrize(("job", "english", "french"), ENDS)
def test_an_end_is_told_in_one_sentence(job: JobInfo, english: str, french: str) -> None:
    assert english in explain_end(job, "en")
    assert french in explain_end(job, "fr")


def test_an_ended_job_is_explained_by_its_end() -> None:
    job = ended(Cause.EXIT, exit_status=3, reason="Job run at Mon Nov 23 and failed")
    assert explain(job, NODES, QUEUES, "en").sentence == explain_end(job, "en")


@pytest.mark.parametrize("cause", [*Cause, None])
@pytest.mark.parametrize("state", JobState)
def test_every_state_and_cause_can_be_told(state: JobState, cause: Cause | None) -> None:
    for status in (None, -11, 0, 1, 128, 129, 143, 192, 255, 300):
        job = replace(waiting("", state), cause=cause, exit_status=status)
        for language in LANGUAGES:
            assert explain_end(job, language)
            explain(job, NODES, QUEUES, language)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    words=st.one_of(st.text(), st.sampled_from([words for words, _ in WORDS]).flatmap(lambda w: st.just(w + "{}\0"))),
    state=st.sampled_from(JobState),
    cause=st.sampled_from([*Cause, None]),
    cores=st.integers(0, 10**6),
    nodes=st.integers(0, 100),
    memory=st.integers(0, 2**50),
    site=st.sampled_from([(NODES, QUEUES), ((), ()), (NODES, ()), ((node("n0", 0, 0, 0),), QUEUES)]),
)
def test_no_words_are_too_strange(
    words: str, state: JobState, cause: Cause | None, cores: int, nodes: int, memory: int, site: Any
) -> None:
    job = JobInfo("7", state, reason=words, cause=cause, cores=cores, node_count=nodes, memory_bytes=memory)
    for language in LANGUAGES:
        found = explain(job, site[0], site[1], language)
        assert found.reason == words
        explain_end(replace(job, state=JobState.FINISHED), language)
        explain_reason(words, language)


def test_every_advice_belongs_to_a_reason() -> None:
    read = {
        area: yaml.safe_load((TEXTS / f"{area}.yaml").read_text(encoding="utf-8")) for area in ("reasons", "advice")
    }
    only_advice = {
        "cores_full",
        "nodes_down_some",
        "more_cores_than_all",
        "cores_or_memory",
        "open_queues",
        "other_queues",
    }
    assert set(read["advice"]) - set(read["reasons"]) == only_advice
