"""Says why a program of the session was killed, in the next cell that runs.

A kernel that needs more than the session's memory is killed, and JupyterLab can only say that it died. The session's
control group counts such kills; what is said comes from the hub, in the user's language.
"""


def _watch_memory(shell):
    import os
    import sys
    from pathlib import Path

    # Of the session, not of the kernel: the kernel that is told is not the one that was killed.
    seen_by_session = Path("/tmp/.springtide-out-of-memory-kills")
    counters = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")

    def kills():
        for counter in map(Path, counters):
            if counter.is_file():
                rows = (line.split() for line in counter.read_text().splitlines())
                return next((int(row[1]) for row in rows if row[0] == "oom_kill"), 0)
        return 0

    def tell(*_):
        try:
            now, before = kills(), int(seen_by_session.read_text() or 0) if seen_by_session.exists() else 0
            if now > before:
                seen_by_session.write_text(str(now))
                print(os.environ.get("SPRINGTIDE_OUT_OF_MEMORY", "The session ran out of memory."), file=sys.stderr)
        except OSError:
            pass  # a counter that cannot be read must not disturb anybody's work

    shell.events.register("pre_run_cell", tell)
    shell.events.register("post_run_cell", tell)


_watch_memory(get_ipython())  # noqa: F821  # IPython provides it
del _watch_memory
