"""The frame of a page: it opens offline, in light and dark, on a phone, and prints.

The page holds its data and one copy of plotly.js (the basic bundle, vendored). Its content security policy lets nothing
else run and nothing be fetched. Texts of a run are escaped in HTML, in plots and in the data.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from importlib import resources

from analysis.plots.plots import Plot
from tokenswarm.redaction import escape


def page(title: str, body: str, shown: Iterable[Plot]) -> str:
    """A complete page around a body (HTML) and the plots that it has places for."""
    data = json.dumps({place_of(plot): plot.spec for plot in shown}, separators=(",", ":"), allow_nan=False)
    # "<" could end the script element from within a string; in JSON it can be written as an escape.
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    parts = {
        "title": escape(title),
        "body": body,
        "plots": data,
        "plotly": resources.files("analysis.plots").joinpath("plotly-basic.min.js").read_text(encoding="utf-8"),
        "nonce": hashlib.sha256((body + data).encode()).hexdigest()[:24],
    }
    template = resources.files("analysis.report").joinpath("report.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def place_of(plot: Plot) -> str:
    """The id of a plot's element."""
    return "plot-" + re.sub(r"[^A-Za-z0-9]+", "-", plot.key)


def figure(plot: Plot) -> str:
    """The place of a plot, with its title and note."""
    wide = ' class="wide"' if plot.wide else ""
    caption = f"<figcaption>{escape(plot.title)}<span>{escape(plot.note)}</span></figcaption>"
    height = plot.spec["layout"]["height"]
    return f'<figure{wide}>{caption}<div class="plot" id="{place_of(plot)}" style="height:{height}px"></div></figure>'


def section(title: str, *parts: str, place: str = "") -> str:
    """A section with an escaped title; empty when all of its parts are. `place`: its id, for links."""
    body = "\n".join(part for part in parts if part)
    mark = f' id="{place}"' if place else ""
    return f"<section{mark}><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def listed(lines: Iterable[str], style: str = "") -> str:
    """An escaped list; empty without lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    mark = f' class="{style}"' if style else ""
    return f"<ul{mark}>{items}</ul>" if items else ""
