"""``springtide-local-queue``: the local queue's commands, for people and for the launcher.

It starts quickly, as it runs for each submission: nothing is imported that is not needed. Exit status: 0 done,
1 refused or failed, 2 not understood, 75 try again (the database is locked).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from springtide.errors import ScriptError, SpringtideError, SubmitRefused
from springtide.queues.local import life
from springtide.queues.local.bell import ensure_keeper, ring, start_keeper
from springtide.queues.local.directives import Submission, parse_id
from springtide.queues.local.machine import Settings, Spool, account, find_spool
from springtide.queues.local.processes import ProcessName, send
from springtide.queues.local.schedule import Room, Waiting, expected_starts
from springtide.queues.local.script import SCRIPT_LIMIT_BYTES, fitted, read_script
from springtide.queues.local.store import Store
from springtide.queues.local.view import View, machine, named, table
from springtide.units import format_memory, parse_memory, parse_walltime

_NAME = "springtide-local-queue"
_TRY_AGAIN = 75


def submit(options: argparse.Namespace, spool: Spool) -> int:
    """Take the script on standard input; print the job's id."""
    raw = sys.stdin.buffer.read(SCRIPT_LIMIT_BYTES + 1)
    spool.create()
    submission = fitted(read_script(raw), spool.settings())
    _check_folders(submission)
    umask = os.umask(0o077)
    try:
        with Store(spool) as store:
            for job_id in (job_id for needed in submission.after for job_id in needed.ids):
                life.selected(store, job_id)
            job_id = store.add(submission, os.getcwd(), umask)
    finally:
        os.umask(umask)
    ring(spool)
    print(job_id)
    return 0


def cancel(options: argparse.Namespace, spool: Spool) -> int:
    """End jobs."""
    by = account().pw_name
    return _each(options.ids, spool, lambda store, job_id: _tell(life.cancel(store, job_id, by)))


def requeue(options: argparse.Namespace, spool: Spool) -> int:
    """Stop running jobs and put them back into the queue."""
    return _each(options.ids, spool, lambda store, job_id: _tell(life.requeue(store, job_id)))


def hold(options: argparse.Namespace, spool: Spool) -> int:
    """Keep waiting jobs from starting."""
    return _each(options.ids, spool, life.hold)


def release(options: argparse.Namespace, spool: Spool) -> int:
    """Let held jobs start."""
    return _each(options.ids, spool, life.release)


def show(options: argparse.Namespace, spool: Spool) -> int:
    """List the jobs that are not over; or those named, and the newest of a name, ended ones too."""
    entries: list[dict[str, Any]] = []
    with _reading(spool) as store:
        if store:
            live = store.live_jobs()
            view = View(live, spool.settings())
            ids = [*options.ids, *(store.ids_called(options.name) if options.name else [])]
            entries = named(view, store.jobs_of, ids) if ids or options.name else list(view.whole(live))
    if options.json:
        json.dump(entries, sys.stdout)
        print()
        return 0
    print(table(entries), end="")
    unknown = set(options.ids) - {entry["id"] for entry in entries}
    for job_id in sorted(unknown):
        _complain(SubmitRefused(f"Unknown job {job_id}."))
    return 1 if unknown else 0


def nodes(options: argparse.Namespace, spool: Spool) -> int:
    """Show this machine, and what of it is free."""
    settings, view = _view(spool)
    answer = machine(view, settings)
    if options.json:
        print(json.dumps(answer))
        return 0
    for node in answer["nodes"]:
        cores = f"{node['free_cores']} of {node['cores']} cores free"
        memory = f"{format_memory(node['free_memory_bytes'])} of {format_memory(node['memory_bytes'])}"
        print(f"{node['name']}  {node['state']}  {cores}  {memory} of memory free")
    return 0


def forecast(options: argparse.Namespace, spool: Spool) -> int:
    """Print when such a job would start at the latest, in seconds since 1970."""
    settings, view = _view(spool)
    asked = Submission("", (), cores=options.cores, memory_bytes=options.memory, walltime_s=options.walltime)
    asked = fitted(asked, settings)
    job = Waiting(-1, -1, Room(asked.cores, asked.memory_bytes), asked.walltime_s)
    starts = expected_starts([*view.waiting, job], view.running, view.total)
    print(f"{view.now + starts[job.key]:.3f}")
    return 0


def keeper(options: argparse.Namespace, spool: Spool) -> int:
    """Start the keeper in the background, where there is none: after the machine was started anew."""
    spool.create()
    Store(spool).close()
    start_keeper(spool)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status says how it went."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.act(options, find_spool())
        sys.stdout.flush()
        return status
    except SpringtideError as error:
        return _complain(error)
    except BrokenPipeError:
        # As with "list | head": whoever reads has seen enough, and Python is not to try once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"{_NAME}: {error.strerror}: {error.filename or 'the queue'}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_NAME, description="A batch queue on this machine.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, act, takes in _VERBS:
        verb = verbs.add_parser(name, help=act.__doc__, description=act.__doc__)
        verb.set_defaults(act=act)
        if takes == "ids":
            verb.add_argument("ids", nargs="+", metavar="ID", type=_id)
        if name == "list":
            verb.add_argument("ids", nargs="*", metavar="ID", type=_id)
            verb.add_argument("--name", default="", help="the newest of this name, too")
        if takes == "json":
            verb.add_argument("--json", action="store_true", help="for programs")
        if name == "forecast":
            verb.add_argument("--cores", type=_cores, default=1)
            verb.add_argument("--memory", type=parse_memory, default=0)
            verb.add_argument("--walltime", type=parse_walltime, default=0)
    return parser


_VERBS: tuple[tuple[str, Callable[[argparse.Namespace, Spool], int], str], ...] = (
    ("submit", submit, ""),
    ("cancel", cancel, "ids"),
    ("list", show, "json"),
    ("nodes", nodes, "json"),
    ("requeue", requeue, "ids"),
    ("hold", hold, "ids"),
    ("release", release, "ids"),
    ("forecast", forecast, ""),
    ("keeper", keeper, ""),
)


def _id(text: str) -> str:
    try:
        parse_id(text)
    except ScriptError as error:
        raise argparse.ArgumentTypeError(error.message) from error
    return text


def _cores(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError("a whole number above 0 is wanted")
    return int(text)


def _complain(error: SpringtideError) -> int:
    # The launcher knows by the name that this is the queue's own answer.
    print(f"{_NAME}: {error}", file=sys.stderr)
    if isinstance(error, ScriptError):
        return 2
    return _TRY_AGAIN if error.transient else 1


def _check_folders(submission: Submission) -> None:
    for path in filter(None, (submission.output, submission.errors)):
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            raise SubmitRefused(f"The folder {folder} of the job's output does not exist.")
        there = os.path.exists(path)
        if (there and not _takes_output(path)) or not os.access(path if there else folder, os.W_OK):
            raise SubmitRefused(f"The job's output {path} cannot be written.")


def _takes_output(path: str) -> bool:
    """Whether it is a file or a device; a named pipe would make the job wait for a reader."""
    mode = os.stat(path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISCHR(mode)


def _each(ids: Iterable[str], spool: Spool, act: Callable[[Store, str], object]) -> int:
    """Do it to all jobs; one that is refused keeps none of the others from it."""
    status = 0
    with _reading(spool) as store:
        for job_id in dict.fromkeys(ids):
            try:
                if store is None:
                    raise SubmitRefused(f"Unknown job {job_id}.")
                act(store, job_id)
            except SubmitRefused as refused:
                status = _complain(refused)
    ring(spool)
    return status


def _tell(shepherds: Iterable[ProcessName]) -> None:
    for shepherd in shepherds:
        send(shepherd, signal.SIGTERM)


@contextlib.contextmanager
def _reading(spool: Spool) -> Iterator[Store | None]:
    """Open the queue, with a keeper where jobs need one; None where nothing was ever submitted."""
    if not spool.database.exists():
        yield None
        return
    with Store(spool) as store:
        if store.rows("SELECT 1 FROM jobs WHERE jobs.state != 'finished' LIMIT 1"):
            ensure_keeper(spool)
        yield store


def _view(spool: Spool) -> tuple[Settings, View]:
    settings = spool.settings()
    with _reading(spool) as store:
        return settings, View(store.live_jobs() if store else [], settings)


if __name__ == "__main__":
    sys.exit(main())
