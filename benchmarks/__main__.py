"""All benchmarks in order: `python -m benchmarks [--quick] > figures.md`. About 27 minutes; 5 with `--quick`.

Needs a machine that does nothing else. Peers are installed into the user's cache when they are not there yet.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

FULL = (
    ("Accuracy and CPU per chunk", "accuracy --streams 10,50,200,500,1000,1500,2000"),
    ("The same, all streams started at once", "accuracy --streams 10,50,200,500,1000 --at-once"),
    ("TLS", "accuracy --streams 50,200,500,1000 --tls"),
    ("Against the least there is", "floor"),
    ("Peers", "peers --streams 10,50,200 --seconds 18"),
    ("Workers", "workers --workers 1,2,4"),
    ("Rows", "rows"),
    ("What the master carries", "master"),
    ("Rows a second, sent and received", "row_rate"),
    ("What a master carries of a fleet", "fleet"),
    ("Arrivals", "arrivals"),
    ("Analysis", "analysis --rows 100000,1000000"),
)
QUICK = (
    ("Accuracy and CPU per chunk", "accuracy --streams 50,1000 --seconds 10"),
    ("TLS", "accuracy --streams 50 --tls --seconds 10"),
    ("Against the least there is", "floor --streams 1000 --kinds plain --seconds 5"),
    ("Peers", "peers --tools tokenswarm,locust,servebench --streams 50 --seconds 10"),
    ("Workers", "workers --workers 1,2 --streams-per-worker 50 --seconds 10"),
    ("Rows", "rows"),
    ("What the master carries", "master --rows-per-s 1000 --seconds 10"),
    ("Arrivals", "arrivals --rates 3000 --seconds 10"),
    ("Analysis", "analysis --rows 100000"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    failed = 0
    for title, command in QUICK if parser.parse_args().quick else FULL:
        print(f"\n## {title}\n\n`python -m benchmarks.{command}`\n", flush=True)
        failed |= subprocess.run([sys.executable, "-m", *f"benchmarks.{command}".split()]).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
