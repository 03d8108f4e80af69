"""Packages of this environment in another one: without an index, and without unpacking and compiling them again."""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tests.simulator_process import ROOT

_spec = importlib.util.spec_from_file_location("pin", ROOT / "deploy" / "docker" / "pin.py")
assert _spec and _spec.loader
pin = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pin)


def link_packages(environment: Path, requirements: list[Requirement]) -> None:
    """What the requirements name and what that needs, and nothing else, as symbolic links."""
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in pin.installed_closure(requirements):
        for file in metadata.files(name) or []:
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (packages / top).exists():
                (packages / top).symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
