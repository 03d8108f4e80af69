"""What a JMeter plan says: its one thread group with its request, pauses and questions, properties filled in.

Read from the XML of a `.jmx` file and from a `user.properties` file; nothing is run and nothing is fetched. Only
what decides the load is read; the rest is noted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree

from tokenswarm.userinput import BadInput, read_number

MAX_DEPTH = 60
"""Deepest nesting of controllers that is followed."""

_EXPRESSION = re.compile(r"\$\{([^{}]*)\}")
_FUNCTION = re.compile(r"__(\w+)(?:\((.*)\))?", re.DOTALL)
_ASKED = re.compile(r"__(?:P|property)\(\s*([^,)\s]+)")
_PROPERTY = re.compile(r"(?P<key>(?:\\.|[^\\\s:=])+)(?:\s*[:=]\s*|\s+)?(?P<value>.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_TIMERS = ("ConstantTimer", "UniformRandomTimer", "GaussianRandomTimer", "PoissonRandomTimer")
_PASSIVE = re.compile(
    r"hashTree|HeaderManager|CSVDataSet|Arguments|ConfigTestElement|ResultCollector|Summariser|CookieManager|"
    r"CacheManager|DNSCacheManager|BackendListener|.*Visualizer|DebugPostProcessor|KeystoreConfig|.*Collector"
)


@dataclass(frozen=True, slots=True)
class PlannedThreadGroup:
    """Threads and when they run. `duration_s` is `None` when the scheduler is off; `loops` -1 means without end."""

    name: str
    threads: int
    ramp_s: float
    delay_s: float
    duration_s: float | None
    loops: int
    on_error: str
    same_user: bool


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """The request that each loop sends. `body` has its expressions still where they hold a variable of the run."""

    name: str
    method: str
    protocol: str
    host: str
    port: str
    path: str
    body: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlannedPause:
    """One timer or pause: `offset_ms` plus a draw of `spread_ms`. `kind`: constant, uniform, gaussian or poisson."""

    kind: str
    offset_ms: float
    spread_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class DataFile:
    """A CSV data set. `variables` empty: the first line names them."""

    filename: str
    variables: tuple[str, ...]
    delimiter: str
    quoted: bool
    recycles: bool
    shared: str
    skips_first_line: bool = False


@dataclass(slots=True)
class TestPlan:
    """A plan as far as it decides the load. `notes`: what of it is not carried over, or falls back."""

    group: PlannedThreadGroup
    request: PlannedRequest
    pauses: list[PlannedPause]
    data_files: list[DataFile]
    notes: list[str]


def parse_properties(text: str) -> dict[str, str]:
    """The properties of a Java properties file: `key=value`, `key: value` or `key value`, `#` and `!` comments."""
    properties: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _PROPERTY.fullmatch(line)
        if match:
            properties[_unescape(match["key"])] = _unescape(match["value"]).strip()
    return properties


def read_plan(xml: bytes, properties: Mapping[str, str], name: str = "plan") -> TestPlan:
    """The plan in the bytes of a `.jmx` file. Raises `BadInput` with every problem; `name` is for messages."""
    try:
        root = ElementTree.fromstring(xml)  # nosec B314: a local file of the user
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadInput([f"{name}: expected the XML of a JMeter plan, got: {error}"]) from error
    if root.tag != "jmeterTestPlan":
        raise BadInput([f"{name}: expected a jmeterTestPlan, got {root.tag:.60}"])
    return _TestPlanReader(root, properties, name).plan()


class _TestPlanReader:
    """Collects one plan's parts, notes and problems."""

    def __init__(self, root: ElementTree.Element, properties: Mapping[str, str], name: str) -> None:
        self._name = name
        self._expressions = _Expressions(properties, root)
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._groups: list[tuple[ElementTree.Element, ElementTree.Element]] = []
        self._requests: list[tuple[ElementTree.Element, dict[str, str]]] = []
        self._pauses: list[PlannedPause] = []
        self._data_files: list[DataFile] = []
        self._defaults: list[ElementTree.Element] = []
        self._root = root

    def plan(self) -> TestPlan:
        tree = self._root.find("hashTree")
        if tree is not None:
            self._visit(tree, (), {}, 0)
        if len(self._groups) != 1:
            names = ", ".join(repr(element.get("testname", "")) for element, _ in self._groups) or "none"
            raise BadInput([f"{self._name}: expected one enabled thread group, got {names}"])
        if not self._requests:
            raise BadInput([f"{self._name}: expected an enabled HTTP request, got none", *self._problems])
        for element, _ in self._requests[1:]:
            self._notes.append(f"request {element.get('testname')!r}: only the first request of the plan is taken over")
        group = self._group(self._groups[0][0])
        request = self._request(*self._requests[0])
        if self._problems:
            raise BadInput(self._problems)
        notes = [*self._expressions.notes(), *self._notes]
        return TestPlan(group, request, self._pauses, self._data_files, list(dict.fromkeys(notes)))

    def _visit(
        self, tree: ElementTree.Element, timers: tuple[PlannedPause, ...], headers: dict[str, str], depth: int
    ) -> None:
        if depth > MAX_DEPTH:
            raise BadInput([f"{self._name}: expected at most {MAX_DEPTH} levels of elements, got more"])
        pairs = list(_pairs(tree))
        timers += tuple(pause for element, _ in pairs for pause in self._timer(element))
        headers = {**headers, **self._headers(element for element, _ in pairs)}
        for element, below in pairs:
            tag = element.tag
            if tag == "ThreadGroup":
                self._groups.append((element, below))
                self._visit(below, timers, headers, depth + 1)
            elif tag.endswith("ThreadGroup"):
                self._other_group(element)
            elif tag == "HTTPSamplerProxy":
                own = [child for child, _ in _pairs(below)]
                self._pauses += [*timers, *(pause for child in own for pause in self._timer(child))]
                self._requests.append((element, {**headers, **self._headers(iter(own))}))
                self._note_passengers(below)
            elif tag == "TestAction":
                own_timers = [pause for child, _ in _pairs(below) for pause in self._timer(child)]
                self._pauses += [*timers, *own_timers, *self._action(element)]
            elif tag == "CSVDataSet":
                self._data_files.append(self._data_file(element))
            elif tag == "ConfigTestElement":
                self._defaults.append(element)
            elif tag in ("TestPlan", "GenericController", "TransactionController"):
                self._visit(below, timers, headers, depth + 1)
            elif tag not in _TIMERS and not _PASSIVE.fullmatch(tag):
                self._notes.append(f"{_title(element)}: not taken over")
                if tag.endswith("Controller"):
                    self._visit(below, timers, headers, depth + 1)

    def _other_group(self, element: ElementTree.Element) -> None:
        if element.tag in ("SetupThreadGroup", "PostThreadGroup"):
            self._notes.append(f"{_title(element)}: not taken over")
        else:
            self._problems.append(f"{self._name}: expected JMeter's own thread group, got {_title(element)}")

    def _note_passengers(self, tree: ElementTree.Element) -> None:
        for element, _ in _pairs(tree):
            if element.tag not in _TIMERS and not _PASSIVE.fullmatch(element.tag):
                self._notes.append(f"{_title(element)}: not taken over")

    def _group(self, element: ElementTree.Element) -> PlannedThreadGroup:
        controller = element.find("elementProp[@name='ThreadGroup.main_controller']")
        scheduled = self._text(element, "ThreadGroup.scheduler") == "true"
        loops = self._number(controller, "LoopController.loops", "loops", 1)
        if controller is not None and self._text(controller, "LoopController.continue_forever") == "true":
            loops = -1 if loops < 0 else loops
        threads = self._number(element, "ThreadGroup.num_threads", "threads", 1)
        duration_s = self._number(element, "ThreadGroup.duration", "duration", 0) if scheduled else None
        self._require_whole(threads, "threads", 1)
        self._require_whole(loops, "loops", -1)
        if loops == 0:
            self._problems.append(f"{self._name}: loops: expected 1 or more, or -1 without end, got 0: nothing is sent")
        if duration_s is not None and duration_s <= 0:
            self._problems.append(f"{self._name}: duration: expected more than 0 s with the scheduler on")
        if duration_s is None and loops < 0:
            self._problems.append(f"{self._name}: expected an end, got endless loops with the scheduler off")
        return PlannedThreadGroup(
            name=element.get("testname", ""),
            threads=int(threads),
            ramp_s=max(0.0, self._number(element, "ThreadGroup.ramp_time", "ramp", 0)),
            delay_s=max(0.0, self._number(element, "ThreadGroup.delay", "delay", 0)) if scheduled else 0.0,
            duration_s=duration_s,
            loops=int(loops),
            on_error=self._text(element, "ThreadGroup.on_sample_error") or "continue",
            # Absent means true: it was added in JMeter 5.2, for what the versions before it did.
            same_user=self._text(element, "ThreadGroup.same_user_on_next_iteration") != "false",
        )

    def _request(self, element: ElementTree.Element, headers: dict[str, str]) -> PlannedRequest:
        def text(prop: str) -> str:
            for each in (element, *self._defaults):
                value = self._text(each, f"HTTPSampler.{prop}")
                if value:
                    return value
            return ""

        values = [_raw(argument, "Argument.value") for argument in element.iter("elementProp")]
        body = "".join(value for value in values if value)
        return PlannedRequest(
            name=element.get("testname", ""),
            method=text("method").upper() or "GET",
            protocol=text("protocol").lower() or "http",
            host=text("domain"),
            port=text("port"),
            path=text("path"),
            body=self._expressions.fill(body).strip(),
            headers=headers,
        )

    def _timer(self, element: ElementTree.Element) -> list[PlannedPause]:
        if element.tag not in _TIMERS:
            return []
        title = _title(element)
        offset_ms = self._number(element, "ConstantTimer.delay", f"{title} delay", 0)
        spread_ms = self._number(element, "RandomTimer.range", f"{title} range", 0)
        kind = element.tag.removesuffix("Timer").removesuffix("Random").lower()
        return [PlannedPause(kind, max(0.0, offset_ms), max(0.0, spread_ms))]

    def _action(self, element: ElementTree.Element) -> list[PlannedPause]:
        if self._text(element, "ActionProcessor.action") not in ("1", ""):
            self._notes.append(f"{_title(element)}: only pauses are taken over")
            return []
        duration_ms = self._number(element, "ActionProcessor.duration", f"{_title(element)} duration", 0)
        return [PlannedPause("constant", max(0.0, duration_ms))]

    def _data_file(self, element: ElementTree.Element) -> DataFile:
        names = self._text(element, "variableNames")
        return DataFile(
            filename=self._text(element, "filename"),
            variables=tuple(name.strip() for name in names.split(",") if name.strip()),
            # JMeter takes a comma for an empty delimiter.
            delimiter=self._text(element, "delimiter").replace("\\t", "\t") or ",",
            quoted=self._text(element, "quotedData") == "true",
            recycles=self._text(element, "recycle") != "false",
            shared=self._text(element, "shareMode").removeprefix("shareMode.") or "all",
            skips_first_line=self._text(element, "ignoreFirstLine") == "true" or not names,
        )

    def _headers(self, elements: Iterator[ElementTree.Element]) -> dict[str, str]:
        found: dict[str, str] = {}
        for element in elements:
            for header in element.iter("elementProp") if element.tag == "HeaderManager" else ():
                name = self._text(header, "Header.name")
                if name:
                    found[name.lower()] = self._text(header, "Header.value")
        return found

    def _text(self, element: ElementTree.Element | None, prop: str) -> str:
        return "" if element is None else self._expressions.fill(_raw(element, prop)).strip()

    def _number(self, element: ElementTree.Element | None, prop: str, what: str, absent: float) -> float:
        text = self._text(element, prop)
        number = read_number(text) if text else float(absent)
        if number is None or abs(number) > 1e12:
            self._problems.append(f"{self._name}: {what}: expected a number, got {text!r:.60}")
            return float(absent)
        return number

    def _require_whole(self, number: float, what: str, least: int) -> None:
        if not number.is_integer() or number < least:
            self._problems.append(f"{self._name}: {what}: expected a whole number from {least}, got {number:g}")


class _Expressions:
    """Fills `${...}` in: properties and variables of the plan; what only a run knows stays as it is."""

    def __init__(self, properties: Mapping[str, str], root: ElementTree.Element) -> None:
        self._properties = properties
        self._variables = _variables(root)
        self._asked = {name for text in root.itertext() for name in _ASKED.findall(text)}
        self._used: dict[str, str | None] = {}

    def fill(self, text: str) -> str:
        # Twice, for a property's name or fall-back that is itself an expression. No more: a value may hold itself.
        return _EXPRESSION.sub(self._value, _EXPRESSION.sub(self._value, text))

    def notes(self) -> list[str]:
        """Properties that fell back, and properties that were given but not asked for."""
        fallen = [
            f"property {name} is not set: the plan falls back to {fallback!r}"
            for name, fallback in self._used.items()
            if fallback is not None
        ]
        unused = [
            f"property {name} is set but the plan does not use it"
            for name in self._properties
            if name not in self._asked and "." not in name  # the dotted ones are JMeter's own settings
        ]
        return fallen + unused

    def _value(self, match: re.Match[str]) -> str:
        inside = match[1].strip()
        function = _FUNCTION.fullmatch(inside)
        if function is None:
            return self._variables.get(inside, match[0])
        name, arguments = function[1], [each.strip() for each in (function[2] or "").split(",")]
        if name == "P" and arguments[0]:
            return self._property(arguments[0], arguments[1] if len(arguments) > 1 else "1")
        if name == "property" and arguments[0]:
            return self._property(arguments[0], arguments[2] if len(arguments) > 2 else arguments[0])
        return match[0]

    def _property(self, name: str, fallback: str) -> str:
        self._used[name] = None if name in self._properties else fallback
        return self._properties.get(name, fallback)


def _variables(root: ElementTree.Element) -> dict[str, str]:
    """User-defined variables of the plan, wherever they stand, first one first."""
    found: dict[str, str] = {}
    for arguments in root.iter():
        is_variables = arguments.tag == "Arguments" or arguments.get("name") == "TestPlan.user_defined_variables"
        for argument in arguments.iter("elementProp") if is_variables else ():
            name = _raw(argument, "Argument.name").strip()
            if name:
                found.setdefault(name, _raw(argument, "Argument.value"))
    return found


def _pairs(tree: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
    """Each enabled element of a hashTree with the hashTree that follows it (an empty one where none does)."""
    children = list(tree)
    for position, element in enumerate(children):
        if element.tag == "hashTree" or element.get("enabled") == "false":
            continue
        following = children[position + 1] if position + 1 < len(children) else None
        yield (
            element,
            following if following is not None and following.tag == "hashTree" else ElementTree.Element("none"),
        )


def _raw(element: ElementTree.Element, prop: str) -> str:
    """Text of a property, in the form of test elements or of test beans; empty when absent."""
    for child in element:
        if child.get("name") == prop:
            return child.text or ""
        if child.findtext("name") == prop:
            return child.findtext("value") or ""
    return ""


def _title(element: ElementTree.Element) -> str:
    return f"{element.tag:.60} {element.get('testname', '')!r:.60}"


def _logical_lines(text: str) -> Iterator[str]:
    """Lines of a properties file, joined where they end with an odd number of backslashes, without comments."""
    pending = ""
    for line in re.split(r"\r\n|\n|\r", text):
        stripped = line.lstrip()
        if not pending and (not stripped or stripped[0] in "#!"):
            continue
        if (len(stripped) - len(stripped.rstrip("\\"))) % 2:
            pending += stripped[:-1]
            continue
        yield pending + stripped
        pending = ""
    if pending:
        yield pending


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match[1]
        return chr(int(escape[1:], 16)) if len(escape) == 5 else _ESCAPED.get(escape, escape)

    return _ESCAPE.sub(replace, text)
