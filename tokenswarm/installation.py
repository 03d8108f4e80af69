"""Where the other parts of the suite are, and what its command is called here.

In a checkout `analysis`, `simulator`, `locustfiles` and `scenarios` stand beside this package. An installed wheel has
them in `tokenswarm/parts`, so that no other package's `analysis` or `simulator` is hidden by ours, or hides ours.
"""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def parts() -> Path:
    """The folder that holds `analysis`, `simulator`, `locustfiles` and `scenarios`."""
    inside = _PACKAGE / "parts"
    return inside if inside.is_dir() else _PACKAGE.parent


def python_path() -> str:
    """`PYTHONPATH` for a process that runs one of the parts: ours first, then what was there."""
    paths = [str(parts()), str(_PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(dict.fromkeys(filter(None, paths)))


def module_command(module: str) -> list[str]:
    """What starts a module of ours in a process with `python_path()`: the working directory cannot hide it."""
    return [sys.executable, "-P", "-m", module]


def command_name() -> str:
    """What to type before a command's name: `tokenswarm` where it is installed, else Python with the package."""
    try:
        metadata.version("tokenswarm")
    except metadata.PackageNotFoundError:
        return "python -m tokenswarm"
    return "tokenswarm"


def version() -> str:
    """Of the installed package, else of the checkout."""
    try:
        return metadata.version("tokenswarm")
    except metadata.PackageNotFoundError:
        return source_version() or "unknown"


def source_version() -> str | None:
    """The version that the checkout around this package has; `None` outside of one."""
    try:
        text = (_PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    return found.group(1) if found else None
