"""`python -m simulator`: stand-in Azure OpenAI and GPT-RAG targets on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import logging
import sys
from pathlib import Path

from simulator.config.settings import ConfigError, load_settings
from simulator.server.server import Place, serve

LOG_LEVELS = ("debug", "info", "warning", "error")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 after a signal to stop, 2 for bad input, 1 when a worker died."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = load_settings(options.config)
        if options.seed is not None:
            settings = dataclasses.replace(settings, seed=options.seed)
        place = Place(
            options.host,
            options.port,
            options.workers,
            options.ready_file,
            options.truth_log,
            options.log_level,
            options.tls_certificate,
            options.tls_key,
        )
        return serve(settings, place)
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
    except OSError as error:
        in_use = f"port {options.port} is in use (another simulator? --port 0 takes a free port)"
        print(f"simulator: {in_use if error.errno == errno.EADDRINUSE else error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_whole_from(0), default=8000, help="0: any free one (default: %(default)s)")
    parser.add_argument("--workers", type=_whole_from(1), default=1, help="processes (default: %(default)s)")
    parser.add_argument("--config", type=Path, help="TOML file: deployments, seed, keys (see default.toml)")
    parser.add_argument("--seed", type=int, help="what all chance depends on (default: 1, or the file's)")
    parser.add_argument("--ready-file", type=Path, help="written with the urls once requests are accepted")
    parser.add_argument("--truth-log", type=Path, help="JSON lines, one for each request received; appended to")
    parser.add_argument("--tls-certificate", type=Path, help="PEM file: serve https (the orchestrator needs http)")
    parser.add_argument("--tls-key", type=Path, help="PEM file with the certificate's key")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="warning", help="default: %(default)s")
    return parser


def _whole_from(low: int) -> type[int]:
    class Whole(int):
        def __new__(cls, text: str) -> Whole:
            number = int.__new__(cls, text)
            if number < low:
                raise ValueError
            return number

    Whole.__name__ = f"whole number from {low}"
    return Whole


if __name__ == "__main__":
    sys.exit(main())
