"""A process that has loaded the libraries of a run, and forks `locust` processes for tests (see tests/locust_start.py).

Loading them takes a second of CPU, and the suite starts some 300 runs. What is ours is not loaded here: each process
loads it anew, by way of its own locustfile. Runs of other tests start from nothing: those of the wheel, of the commands
of the guides, of the bundle for Azure, and those whose disk or permissions are limited. Ends with who asks.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import os
import runpy
import signal
import socket
import sys
import time
from typing import Any

# Locust replaces functions of the standard library when it is loaded: this process needs the real ones.
_fork, _waitpid, _signal, _recv_fds = os.fork, os.waitpid, signal.signal, socket.recv_fds
LIBRARIES = ["locust.main", "openai", "httpx2", "msgspec", "jmespath", "dotenv", "rich.live", "rich.table"]
_REQUEST_BYTES = 200_000


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork as asked, and report how each child ended. Returns in a child, with what it is to run; `None` at the end."""
    children: dict[int, socket.socket] = {}

    def report(*_: object) -> None:
        for pid in list(children):
            with contextlib.suppress(OSError):  # reported in the midst of this, by the signal; or nobody asks any more
                ended, status = _waitpid(pid, os.WNOHANG)
                if ended:
                    with children.pop(pid) as asker:
                        asker.send(str(os.waitstatus_to_exitcode(status)).encode())

    _signal(signal.SIGCHLD, report)
    while True:
        text, descriptors, _, _ = _recv_fds(channel, _REQUEST_BYTES, 2)
        if not text:
            for pid in list(children):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            return None
        output, asker = descriptors[0], socket.socket(fileno=descriptors[1])
        pid = _fork()
        if pid == 0:
            _signal(signal.SIGCHLD, signal.SIG_DFL)
            _signal(signal.SIGHUP, signal.SIG_DFL)  # whatever `nohup` has made of it
            os.setsid()
            asker.send(str(os.getpid()).encode())  # from now on a signal can go to its session
            for each in (channel, asker, *children.values()):
                each.close()
            request: dict[str, Any] = {**json.loads(text), "output": output}
            return request
        os.close(output)
        children[pid] = asker
        report()  # of a child that ended before it was in the list


def become(request: dict[str, Any]) -> None:
    """Be the process that was asked for: `python -m locust` in a folder and environment of its own."""
    for descriptor in (1, 2):
        os.dup2(request["output"], descriptor)
    os.close(request["output"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    folders = [folder for folder in request["env"].get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:1] = [request["cwd"], *folders]
    if any(os.path.exists(f"{folder}/sitecustomize.py") for folder in folders):  # Python loads it at its start
        sys.modules.pop("sitecustomize", None)
        __import__("sitecustomize")
    sys.argv = ["locust", *request["arguments"]]
    runpy.run_module("locust", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    asked = socket.socket(fileno=int(sys.argv[1]))
    for name in LIBRARIES:
        __import__(name)
    inspect.stack()  # as each run does at its start: it looks for the files of all modules
    gc.freeze()
    if (mine := serve(asked)) is not None:
        become(mine)
