"""JUnit XML: one test case for each failure criterion, one for the run itself."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from analysis.findings.summary import Summary
from tokenswarm.metrics.criterion_words import noted

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(summaries: Sequence[Summary]) -> str:
    """The document. A criterion that is true, or has no data, is a failure; a run not to be trusted is an error."""
    suites = ElementTree.Element("testsuites", name="tokenswarm")
    for summary in summaries:
        _add_suite(suites, summary)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def _add_suite(suites: ElementTree.Element, summary: Summary) -> None:
    criteria = summary.judgement.criteria
    failures = sum(item.state != "held" for item in criteria) + (_run_problem(summary) == "failure")
    errors = int(_run_problem(summary) == "error")
    seconds = 0.0 if summary.window is None else summary.window.length_s
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=_clean(summary.label),
        tests=str(len(criteria) + 1),
        failures=str(failures),
        errors=str(errors),
        time=f"{seconds:.3f}",
    )
    _add_counts(suite, summary)
    _add_run(suite, summary)
    for item in criteria:
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(summary.label), name=_clean(item.text))
        if item.state != "held":
            ElementTree.SubElement(case, "failure", message=_clean(noted(item.result)), type=item.state).text = _clean(
                item.text
            )


def _add_counts(suite: ElementTree.Element, summary: Summary) -> None:
    """How the requests of the whole run ended, as properties; what a source cannot tell is left out."""
    counted = summary.accounting
    properties = ElementTree.SubElement(suite, "properties")
    scope = "whole run, warm-up and cool-down included"
    ElementTree.SubElement(properties, "property", name="scope", value=scope)
    for name in ("sent", "ok", "failed", "throttled", "cancelled", "aborted", "dropped", "lost"):
        ElementTree.SubElement(properties, "property", name=name, value=str(getattr(counted, name)))
    for replacement in summary.judgement.replaced:
        ElementTree.SubElement(properties, "property", name="not judged", value=_clean(str(replacement)))


def _add_run(suite: ElementTree.Element, summary: Summary) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=_clean(summary.label), name="the run can be judged")
    kind = _run_problem(summary)
    if kind is not None:
        reasons = "\n".join(map(str, summary.judgement.reasons))
        ElementTree.SubElement(case, kind, message=_clean(summary.judgement.state)).text = _clean(reasons)


def _run_problem(summary: Summary) -> str | None:
    """error: not to be trusted, or interrupted. failure: failed by something else than a criterion."""
    if summary.judgement.state in ("untrusted", "interrupted"):
        return "error"
    broken = any(item.state != "held" for item in summary.judgement.criteria)
    return "failure" if summary.judgement.state == "failed" and not broken else None


def _clean(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return _ILLEGAL.sub("?", text)
