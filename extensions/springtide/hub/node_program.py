"""What runs inside a batch job: find a free port, tell the hub, become the session.

The hub pastes this file into the job's script, so a node needs nothing of Springtide: a Python with jupyterhub and
jupyterlab is enough, and only the standard library is used here.
"""

import json
import os
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# A hub that is being restarted comes back within this time; the job's place in the queue is worth the wait.
HUB_BACK_WITHIN_S = 600


def shares_machine_with(host: str) -> bool:
    """Return whether `host` is an address of this machine: then nobody else needs to reach the session's port."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((socket.gethostbyname(host), 0))
    except OSError:
        return False
    return True


def free_port(address: str) -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def report(port: int) -> None:
    """Tell the hub the port; keep trying while the hub is away, end with words when it refuses."""
    request = urllib.request.Request(
        os.environ["JUPYTERHUB_API_URL"].rstrip("/") + "/batchspawner",
        data=json.dumps({"port": port}).encode(),
        headers={
            "Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"],
            "Content-Type": "application/json",
        },
    )
    # A proxy of the site is for the outside; the hub is inside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    give_up_at = time.monotonic() + HUB_BACK_WITHIN_S
    pause_s = 0.5
    while True:
        try:
            opener.open(request, timeout=20).close()
            return
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500:
                sys.exit(f"springtide: the hub refused this session ({refusal.code}); was it stopped meanwhile?")
            problem: object = refusal
        except OSError as error:
            problem = error
        if time.monotonic() > give_up_at:
            sys.exit(f"springtide: the hub at {request.full_url} cannot be reached from this node: {problem}")
        print(f"springtide: the hub does not answer ({problem}); trying again", flush=True)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 15)


def main() -> None:
    """Report the port and become the session."""
    hub_host = urllib.parse.urlsplit(os.environ["JUPYTERHUB_API_URL"]).hostname or "127.0.0.1"
    address = "127.0.0.1" if shares_machine_with(hub_host) else "0.0.0.0"
    port = free_port(address)
    service = urllib.parse.urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
    os.environ["JUPYTERHUB_SERVICE_URL"] = service._replace(netloc=f"{address}:{port}").geturl()
    report(port)
    command = [sys.executable, "-m", "jupyterhub.singleuser", *os.environ.pop("SPRINGTIDE_ARGS", "").split()]
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
