"""Runs code in a session as a browser does: a kernel through the proxy, spoken to by websocket."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

import requests
import websocket


class CodeFailed(Exception):
    """The code raised; the text is its traceback."""


@dataclass(frozen=True)
class SessionClient:
    """The API of one running session: ``url`` as users see it, ending in "/"."""

    url: str
    token: str

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, self.url + path.lstrip("/"), headers=headers, timeout=60, **options)

    def run_code(self, code: str, seconds: float = 60, kernel: str = "") -> str:
        """Return what `code` writes to standard output in a new kernel, which is removed again.

        Raises
        ------
        CodeFailed
            The code raised.
        TimeoutError
            No answer in time, as after an out-of-memory kill.
        """
        identifier = self.start_kernel(kernel)
        try:
            return self.run_in(identifier, code, seconds)
        finally:
            self.request("DELETE", f"api/kernels/{identifier}")

    def start_kernel(self, name: str = "") -> str:
        """Start a kernel that stays, and return its id."""
        answer = self.request("POST", "api/kernels", json={"name": name} if name else {})
        answer.raise_for_status()
        return str(answer.json()["id"])

    def run_in(self, kernel: str, code: str, seconds: float = 60, stream: str = "stdout") -> str:
        """Return what `code` writes to `stream` in a running kernel; raises as `run_code`."""
        deadline = time.monotonic() + seconds
        address = self.url.replace("http", "ws", 1) + f"api/kernels/{kernel}/channels"
        connection = websocket.create_connection(
            address, header={"Authorization": f"token {self.token}"}, timeout=deadline - time.monotonic()
        )
        try:
            request = _execute_request(code)
            connection.send(json.dumps(request))
            return _collect_output(connection, request["header"]["msg_id"], deadline, stream)
        finally:
            connection.close()


def _execute_request(code: str) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": uuid.uuid4().hex,
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}


def _collect_output(connection: websocket.WebSocket, request_id: str, deadline: float, stream: str) -> str:
    output: list[str] = []
    while True:
        message = _next_message(connection, deadline)
        if message["parent_header"].get("msg_id") != request_id:
            continue
        content = message["content"]
        match message["msg_type"]:
            case "stream" if content["name"] == stream:
                output.append(content["text"])
            case "error":
                raise CodeFailed("\n".join(content["traceback"]))
            # The kernel says on the same channel as its output that it is done: nothing of it comes later.
            case "status" if content["execution_state"] == "idle":
                return "".join(output)


def _next_message(connection: websocket.WebSocket, deadline: float) -> dict[str, Any]:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the kernel did not answer in time")
    connection.settimeout(left)
    try:
        message: dict[str, Any] = json.loads(connection.recv())
    except websocket.WebSocketTimeoutException:
        raise TimeoutError("the kernel did not answer in time") from None
    return message
