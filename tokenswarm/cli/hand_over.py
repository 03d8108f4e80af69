"""Other programs in the place of this one: Locust, and the parts `analysis` and `simulator`."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from tokenswarm.installation import parts

LOCUST = """
import sys
sys.argv[0] = "locust"
try:
    from locust.main import main
    main()
except KeyboardInterrupt:
    print("Stopped before the run began.", file=sys.stderr)
    sys.exit(130)
"""
"""As `python -m locust`, but its messages do not begin with `__main__.py`, and a Ctrl-C while it loads is one line."""


def become_locust(arguments: Sequence[str]) -> NoReturn:
    """Let Locust's own main take over this process: its exit code, signals and output are then Locust's.

    A new interpreter, because Locust has to patch the standard library before anything else is imported.
    """
    command = [sys.executable, "-c", LOCUST, *arguments]
    sys.stdout.flush()
    if os.name == "nt":  # there exec returns to the shell before the program has ended
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def run_part(module: str, arguments: Sequence[str], **options: str) -> int:
    """Run the `main` of a module of `analysis` or `simulator` in this process; returns its exit code."""
    sys.path.insert(0, str(parts()))
    return int(importlib.import_module(module).main(list(arguments), **options))
