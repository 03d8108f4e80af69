"""Write constraints.txt: the exact versions, in this environment, of everything the image installs.

    .venv/bin/python deploy/docker/pin.py

Run it after changing requirements.txt, in an environment whose tests have passed.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
REQUIREMENTS = (PROJECT / "requirements.txt", PROJECT / "requirements-azure.txt")


def read_requirements(path: Path) -> list[Requirement]:
    """The requirements of a file, comments left out."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line]


def installed_closure(requirements: list[Requirement]) -> dict[str, str]:
    """Name to installed version of the requirements and of all they need, extras included."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement.name, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[canonicalize_name(name)] = metadata.version(name)
        for needed in map(Requirement, metadata.requires(name) or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed.name, each) for each in ("", *needed.extras)]
    return dict(sorted(found.items()))


def main() -> None:
    requirements = [one for path in REQUIREMENTS for one in read_requirements(path)]
    pins = installed_closure(requirements)
    text = "# Exact versions for the image; written by pin.py.\n"
    text += "".join(f"{name}=={version}\n" for name, version in pins.items())
    (HERE / "constraints.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
