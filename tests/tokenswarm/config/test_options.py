"""How Locust's parser takes our options."""

from __future__ import annotations

import argparse
from typing import Any, cast

import pytest

from tokenswarm.config.options import add_options


class _Parser(argparse.ArgumentParser):
    """Python's own parser under the two arguments that Locust's adds."""

    def add_argument(self, *names: Any, env_var: str = "", include_in_web_ui: bool = True, **rest: Any) -> Any:
        return super().add_argument(*names, **rest)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([], None),
        (["--env-file", "a.env"], "a.env"),
        (["--env-file", "a.env", "--env-file=b.env,c.env"], "a.env,b.env,c.env"),
        (["--rate", "1", "--env-file", "b.env", "--rate", "2", "--env-file", "a.env"], "b.env,a.env"),
    ],
)
def test_environment_files_given_one_by_one_are_all_read_in_order(given: list[str], taken: str | None) -> None:
    parser = _Parser()
    add_options(cast(Any, parser))
    assert parser.parse_args(given).env_file == taken
