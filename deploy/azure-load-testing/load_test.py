"""The test plan on Azure Load Testing, where every file lies in one flat folder and packages do not survive.

Puts the package from `tokenswarm.pyz` on the path, tells this engine its place among the engines, points to the data
files and then is the locustfile that the bundle names. `bundle.py` makes the folder.
"""

import importlib
import os
import sys
import tempfile
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

if sys.version_info < (3, 11):  # noqa: UP036 - an engine's Python is not documented
    sys.exit(f"Tokenswarm: expected Python 3.11 or newer on the engine, got {sys.version.split()[0]}")


def unpack_package() -> None:
    """Unpacked rather than imported from the archive, so that files in the package can be opened."""
    packages = tempfile.mkdtemp(prefix="tokenswarm-")
    with zipfile.ZipFile(FOLDER / "tokenswarm.pyz") as archive:
        archive.extractall(packages)
    sys.path.insert(0, packages)


def find_place() -> None:
    """One line of engine.csv left by the service's splitting is this engine's number; several mean it did not split."""
    numbers = (FOLDER / "engine.csv").read_text(encoding="utf-8").split()
    if len(numbers) == 1:
        os.environ.setdefault("TOKENSWARM_ENGINE_INDEX", numbers[0])


def point_to_files() -> None:
    """Absolute paths: the working directory of an engine is not documented."""
    for option in ("dataset", "trace"):
        for path in FOLDER.glob(f"{option}.*"):
            os.environ.setdefault(f"LOCUST_{option.upper()}", str(path))
    os.environ.setdefault("LOCUST_RESULTS_DIR", tempfile.mkdtemp(prefix="tokenswarm-results-"))


unpack_package()
find_place()
point_to_files()
sys.path.insert(0, str(FOLDER))
locustfile = importlib.import_module((FOLDER / "locustfile.txt").read_text(encoding="utf-8").strip())
globals().update({name: value for name, value in vars(locustfile).items() if not name.startswith("_")})
