"""Prints the rooms of the packages and the arrows among them: modules, folders, circles, arrows upwards.

    python scripts/rooms.py [REVISION]      # of the working tree, or of a commit

An arrow is an import from one module to another of ours; of folders, whatever the number of imports behind it. Upwards
is an arrow to a folder that stands later in the table of tests/test_dependencies.py.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tokenswarm", "analysis", "simulator")
Arrows = Mapping[str, set[str]]


def sources(revision: str | None) -> dict[str, str]:
    """Module name -> source text, of the working tree or of a commit."""
    if revision is None:
        paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
        texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    else:
        listed = _git("ls-tree", "-r", "--name-only", revision, *PACKAGES).splitlines()
        texts = {path: _git("show", f"{revision}:{path}") for path in listed if path.endswith(".py")}
    return {path[:-3].replace("/", "."): text for path, text in texts.items() if not path.endswith("__init__.py")}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def module_arrows(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports."""
    return {
        module: {name for name in imported(text) if name in texts and name != module} for module, text in texts.items()
    }


def imported(text: str) -> set[str]:
    """Every dotted name that a source imports, of modules and of what is in them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def folder_of(module: str) -> str:
    """`tokenswarm.config` of `tokenswarm.config.options`; a module beside the folders stands for itself."""
    return ".".join(module.split(".")[:2])


def folder_arrows(modules: Arrows) -> dict[str, set[str]]:
    arrows: dict[str, set[str]] = defaultdict(set)
    for module, others in modules.items():
        arrows[folder_of(module)] |= {folder_of(other) for other in others} - {folder_of(module)}
    return dict(arrows)


def circles(arrows: Arrows) -> list[set[str]]:
    """The sets of nodes that reach each other."""
    reach = {node: _reached(node, arrows) for node in arrows}
    found: list[set[str]] = []
    for node, others in reach.items():
        circle = {other for other in others if node in reach.get(other, set())} | {node}
        if node in others and circle not in found:
            found.append(circle)
    return found


def _reached(node: str, arrows: Arrows) -> set[str]:
    seen: set[str] = set()
    todo = list(arrows.get(node, ()))
    while todo:
        if (other := todo.pop()) not in seen:
            seen.add(other)
            todo += arrows.get(other, ())
    return seen


def upwards(arrows: Arrows, order: Iterable[str]) -> list[tuple[str, str]]:
    """Arrows from a folder to one that stands later in the order."""
    place = {folder: number for number, folder in enumerate(order)}
    pairs = [(a, b) for a, others in arrows.items() for b in others if a in place and b in place]
    return [(a, b) for a, b in pairs if place[a] < place[b]]


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.test_dependencies import ROOMS

    modules = module_arrows(sources(sys.argv[1] if len(sys.argv) > 1 else None))
    folders = folder_arrows(modules)
    for package in PACKAGES:
        own = {name: others for name, others in modules.items() if name.startswith(package)}
        rooms = {name: others for name, others in folders.items() if name.startswith(package)}
        print(
            f"{package}: {len(own)} modules, {sum(map(len, own.values()))} arrows; {len(rooms)} folders and modules"
            f" beside them, {sum(map(len, rooms.values()))} arrows"
        )
    print(f"circles among modules: {len(circles(modules))}, among folders: {len(circles(folders))}")
    print(f"arrows upwards: {len(upwards(folders, ROOMS))}")
    for circle in circles(modules):
        print("  circle:", ", ".join(sorted(circle)))


if __name__ == "__main__":
    main()
