"""Scenario files: which there are, what each is for, and what Locust has to be told to run one from here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from tokenswarm.config.options import OPTIONS
from tokenswarm.installation import parts
from tokenswarm.userinput import BadInput

PATH_KEYS = frozenset({"locustfile", "ca-file", *(option.name for option in OPTIONS if option.is_file)})
"""Scenario keys whose values are files."""

SHORT = {"--locustfile": "-f", "--users": "-u", "--spawn-rate": "-r", "--run-time": "-t", "--host": "-H"}
"""Locust's short names of options."""

NOT_HEADLESS = ("--headless", "--worker", "--autostart", "--web-host", "--web-port", "--web-login", "--class-picker")
"""Options of Locust that already say whether there is a web UI."""


def folders() -> list[Path]:
    """Where scenarios are looked for: the working directory's own first."""
    own, ours = Path("scenarios"), parts() / "scenarios"
    return [own] if own.is_dir() and own.samefile(ours) else [own, ours]


def known_scenarios() -> dict[str, Path]:
    """All scenarios by name; one of the working directory hides ours of the same name."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.conf")):
            found.setdefault(path.stem, path)
    return found


def find_scenario(name: str | None) -> Path:
    """The file of a scenario given by name or path. Raises `BadInput` with the names that come near."""
    known = known_scenarios()
    if name is None:
        raise BadInput(["scenario: expected the name of one or a .conf file, got none (`list` shows all)"])
    if name.endswith(".conf") or "/" in name:
        if Path(name).is_file():
            return Path(name)
        hint = f" (`run {Path(name).stem}` takes the one that came with us)" if Path(name).stem in known else ""
        raise BadInput([f"scenario: expected a file, got {name!r}, which does not exist{hint}"])
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`list` shows all"
    raise BadInput([f"scenario: expected the name of one or a .conf file, got {name!r} ({hint})"])


def purpose(path: Path) -> str:
    """The first sentence of the file's first comment."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    sentence = re.match(r".*?[.?](?=\s|$)", " ".join(comment))
    return sentence[0] if sentence else " ".join(comment)


def locust_arguments(path: Path, given: Sequence[str], web: bool) -> list[str]:
    """What Locust is told: the scenario, files of it that are not here, `.env`, `--headless`, and what was given.

    Raises `BadInput` for a second scenario.
    """
    if given and given[0] in known_scenarios():
        raise BadInput([f"scenario: expected one, got {path.stem} and {given[0]} (run them one after the other)"])
    arguments = ["--config", str(path), *_files_of_ours(path, given)]
    if Path(".env").is_file() and not has_option(given, "--env-file"):
        arguments += ["--env-file", ".env"]
    if not web and not any(has_option(given, name) for name in NOT_HEADLESS):
        arguments.append("--headless")
    return [*arguments, *given]


def _files_of_ours(path: Path, given: Sequence[str]) -> list[str]:
    """Options for files that the scenario names, that are not in the working directory, and that came with us."""
    arguments = []
    for line in path.read_text(encoding="utf-8").splitlines():
        key, separator, value = (part.strip() for part in line.partition("="))
        ours = parts() / value
        if (
            separator
            and key in PATH_KEYS
            and not Path(value).exists()
            and ours.is_file()
            and not has_option(given, f"--{key}")
        ):
            arguments += [f"--{key}", str(ours)]
    return arguments


def scenario_keys(path: Path) -> dict[str, str]:
    """The keys of a scenario with their texts."""
    pairs = (
        line.partition("=") for line in path.read_text(encoding="utf-8").splitlines() if line[:1] not in ("#", ";")
    )
    return {key.strip(): value.strip() for key, separator, value in pairs if separator}


def has_option(given: Sequence[str], name: str) -> bool:
    """Whether an option was given, under its long name or Locust's short one."""
    short = SHORT.get(name, name)
    return any(each in (name, short) or each.startswith(f"{name}=") for each in given)
