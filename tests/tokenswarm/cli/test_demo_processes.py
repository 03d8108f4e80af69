"""How the processes of a demo are stopped: real processes, and a real Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.waiting import wait_until
from tokenswarm.installation import parts

ENDS_WITH_ALL = """
import pathlib, signal, sys, time
folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
signal.signal(signal.SIGTERM, lambda *_: (folder / f"asked-{name}").touch())
(folder / f"ready-{name}").touch()
latest = time.monotonic() + 40
while len(list(folder.glob("asked-*"))) < 3 and time.monotonic() < latest:
    time.sleep(0.01)  # a file that appears tells nobody
"""
IGNORES = "import pathlib, signal, sys, time\n" + (
    "folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
    'signal.signal(signal.SIGTERM, lambda *_: (folder / f"asked-{name}").touch())\n'
    '(folder / f"ready-{name}").touch()\n'
    "time.sleep(40)  # until it is killed\n"
)
DEMO = """
import pathlib, sys
from tokenswarm.cli.demo_processes import DemoProcesses
folder = pathlib.Path(sys.argv[1])
try:
    with DemoProcesses() as processes:
        for name in "abc":
            processes.start([sys.executable, "-c", sys.argv[2], str(folder), name], folder / f"{name}.log", {}, folder)
        processes.wait(lambda: False, 60)
except KeyboardInterrupt:
    print("Stopped.")
"""


def start(folder: Path, process: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    demo = subprocess.Popen(
        [sys.executable, "-c", DEMO, str(folder), process],
        env={**os.environ, "PYTHONPATH": str(parts())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: len(list(folder.glob("ready-*"))) == 3, "three processes")
    return demo, psutil.Process(demo.pid).children()


def test_all_are_asked_to_end_before_any_has_ended(tmp_path: Path) -> None:
    demo, children = start(tmp_path, ENDS_WITH_ALL)
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=14)  # one after another: each waits for the others, and is killed after 15 s
    assert output.splitlines() == ["", "Stopping 3 processes; Ctrl-C again kills them.", "Stopped."]
    assert [child for child in children if child.is_running()] == []


def test_a_second_interruption_leaves_no_process(tmp_path: Path) -> None:
    demo, children = start(tmp_path, IGNORES)
    demo.send_signal(signal.SIGINT)
    wait_until(lambda: len(list(tmp_path.glob("asked-*"))) == 3, "three were asked to end")
    demo.send_signal(signal.SIGINT)
    output, _ = demo.communicate(timeout=14)
    assert output.endswith("Stopped.\n") and "Traceback" not in output
    assert [child for child in children if child.is_running()] == []
