"use strict";
// Line charts by uPlot, with one cursor for all: limits, marks where the rate was changed, gaps where nothing is known.

const TICK_S = 2;
const HEIGHT = 210;
const DASHES = [[], [7, 3], [2, 3], [10, 3, 2, 3]];

// The limits that criteria set on one of the metrics, for all requests together.
const criteriaLimits = (...metrics) => (run) => run.criteria
  .filter((each) => metrics.includes(each.metric) && each.name === null)
  .map((each) => ({ value: each.threshold, text: `${each.aggregation} ${each.operator === ">" ? "at most" : "at least"} ${formatNumber(each.threshold)}` }));
const quotaLimit = (name) => (run) => (run.quota[name] ? [{ value: run.quota[name], text: `quota ${formatNumber(run.quota[name])}` }] : []);
const percentiles = (metric) => ["p50", "p95", "p99"].map((p) => [`${metric}_${p}`, p]);

const CHARTS = [
  { title: "Requests per minute", unit: "", limits: (run) => [...quotaLimit("rpm")(run), ...criteriaLimits("rpm")(run)],
    series: [["ok_rpm", "answered"], ["offered_rpm", "offered"], ["throttled_rpm", "throttled"], ["failed_rpm", "failed"]] },
  { title: "Time to first token", unit: "ms", limits: criteriaLimits("ttft_ms"), series: percentiles("ttft_ms") },
  { title: "Tokens per minute", unit: "", limits: (run) => [...quotaLimit("tpm")(run), ...criteriaLimits("tpm")(run)],
    series: [["total_tpm", "total"], ["prompt_tpm", "prompt"], ["generated_tpm", "generated"], ["estimated_tpm", "estimated"]] },
  { title: "End to end", unit: "ms", limits: criteriaLimits("e2e_ms", "response_time_ms"), series: percentiles("e2e_ms") },
  { title: "Time between tokens", unit: "ms", limits: criteriaLimits("tbt_ms"), series: percentiles("tbt_ms") },
  { title: "In flight and users", unit: "", series: [["in_flight", "in flight"], ["users", "users"]] },
  { title: "Event-loop lag, worst process", unit: "ms", series: [["lag_p95_ms", "p95"], ["lag_max_ms", "max"]] },
  { title: "Utilization of the deployment", unit: "%", series: [["utilization_pct", "utilization"]], optional: true },
];

const charts = [];

// Points with an empty one wherever some are missing, so that no line is drawn over time of which nothing is known.
function withGaps(points) {
  return points.flatMap((point, at) => {
    const missing = at > 0 && point.at - points[at - 1].at > 3 * TICK_S;
    return missing ? [{ at: points[at - 1].at + TICK_S }, point] : [point];
  });
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return { lines: ["--c1", "--c2", "--c3", "--c4"].map(read), text: read("--soft"), grid: read("--line"), limit: read("--limit"), mark: read("--text"), card: read("--card") };
}

// Values between two gaps: no line is drawn through one alone, so it is drawn as a point.
function loneValues(plot, series) {
  const values = plot.data[series];
  const isKnown = (at) => (values[at] ?? null) !== null;
  return values.flatMap((_, at) => (isKnown(at) && !isKnown(at - 1) && !isKnown(at + 1) ? [at] : []));
}

// A piece of a curve for its legend: whoever sees no colours tells curves by their dashes.
function lineSample(colour, dashes) {
  const sample = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const attributes = { x1: 0, y1: 5, x2: 26, y2: 5, stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes.join(" ") };
  for (const [name, value] of Object.entries(attributes)) line.setAttribute(name, value);
  sample.setAttribute("class", "sample");
  sample.setAttribute("aria-hidden", "true");
  sample.append(line);
  return sample;
}

class Chart {
  constructor(description) {
    this.description = description;
    this.points = [];
    this.limits = [];
    this.marks = [];
    this.figure = document.createElement("figure");
    this.name = description.title + (description.unit ? ` (${description.unit})` : "");
    this.note = element("span", "", "note");
    const caption = element("figcaption", this.name);
    caption.append(this.note);
    this.holder = element("div", "", "plot");
    const role = { role: "slider", tabindex: "0", "aria-label": `${this.name} over time`, "aria-valuemin": "0", "aria-valuenow": "0", "aria-valuemax": "0" };
    for (const [key, value] of Object.entries(role)) this.holder.setAttribute(key, value);
    this.holder.addEventListener("keydown", (event) => this.press(event));
    this.figure.append(caption, this.holder);
    new ResizeObserver(() => this.resize()).observe(this.holder);
  }

  build() {
    this.plot?.destroy();
    const colour = colours();
    const font = "12px system-ui, sans-serif";
    const axis = { stroke: colour.text, font, grid: { stroke: colour.grid, width: 1 }, ticks: { stroke: colour.grid, width: 1 } };
    this.plot = new uPlot({
      width: this.width(), height: HEIGHT,
      scales: { x: { time: false, range: (_, low, high) => [low, Math.max(high, low + 30)] }, y: { range: () => [0, this.top()] } },
      cursor: { sync: { key: "llm" }, drag: { x: false, y: false }, points: { size: 6 } },
      axes: [
        { ...axis, space: 70, values: (plot, ticks) => ticks.map((at) => formatClock(at, plot.scales.x.max - plot.scales.x.min < 600)) },
        { ...axis, size: 62, values: (_, ticks) => ticks.map((value) => value.toLocaleString("en-US", { maximumFractionDigits: 2 })) },
      ],
      series: [
        { label: "time", value: (plot, value, _, index) => (index === null ? "now" : formatClock(plot.data[0][index], true)) },
        ...this.description.series.map(([key, label], at) => ({
          label, stroke: colour.lines[at], width: 2, dash: DASHES[at], points: { show: false, filter: loneValues },
          value: (_, value, __, index) => formatNumber(index === null ? this.points.at(-1)?.[key] : value),
        })),
      ],
      hooks: { draw: [(plot) => this.drawLines(plot, colour)] },
    }, this.data(), this.holder);
    this.holder.querySelectorAll(".u-series .u-marker").forEach((marker, at) => { if (at) marker.replaceWith(lineSample(colour.lines[at - 1], DASHES[at - 1])); });
  }

  width() {
    return Math.max(220, this.holder.clientWidth);
  }

  resize() {
    if (this.plot && this.plot.width !== this.width()) this.plot.setSize({ width: this.width(), height: HEIGHT });
  }

  data() {
    return [this.points.map((point) => point.at), ...this.description.series.map(([key]) => this.points.map((point) => point[key] ?? null))];
  }

  highest() {
    return Math.max(0, ...this.description.series.flatMap(([key]) => this.points.map((point) => point[key] ?? 0)));
  }

  // A limit far above the load would flatten the curves: it is drawn when the load comes near, and named until then.
  near() {
    return this.limits.filter(({ value }) => this.highest() >= value * 0.2);
  }

  top() {
    return Math.max(this.highest(), ...this.near().map(({ value }) => value)) * 1.1 || 1;
  }

  draw(points, run) {
    const { series, optional, limits } = this.description;
    this.figure.hidden = Boolean(optional) && !points.some((point) => series.some(([key]) => point[key] !== null));
    this.points = withGaps(points.length ? points : [{ at: run.at }]);
    this.limits = limits ? limits(run) : [];
    this.marks = run.marks;
    const far = this.limits.filter((limit) => !this.near().includes(limit));
    this.note.textContent = far.length ? `${far.map(({ text }) => text).join(", ")}: above the scale` : "";
    if (this.figure.hidden) return;
    if (this.plot) this.plot.setData(this.data());
    else this.build();
    this.say(this.plot.cursor.idx);
  }

  // What a screen reader says of an instant; the last one while the cursor is nowhere.
  say(index) {
    const point = this.points.at(index ?? -1);
    if (!point) return;
    const { series, unit } = this.description;
    const values = series.map(([key, name]) => `${name} ${formatNumber(point[key])} ${unit}`.trim());
    const attributes = { "aria-valuemax": this.points.length - 1, "aria-valuenow": index ?? this.points.length - 1, "aria-valuetext": `${formatClock(point.at, true)}: ${values.join(", ")}` };
    for (const [key, value] of Object.entries(attributes)) this.holder.setAttribute(key, value);
  }

  press(event) {
    const last = this.points.length - 1;
    const now = this.plot?.cursor.idx ?? last;
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1, PageDown: now - 10, PageUp: now + 10, Home: 0, End: last }[event.key];
    if (last < 0 || (to === undefined && event.key !== "Escape")) return;
    event.preventDefault();
    const index = Math.min(last, Math.max(0, to ?? last));
    for (const { plot } of charts.filter((each) => each.plot && !each.figure.hidden)) {
      plot.setCursor(to === undefined ? { left: -10, top: -10 } : { left: plot.valToPos(this.points[index].at, "x"), top: 0 });
    }
    this.say(to === undefined ? null : index);
  }

  drawLines(plot, colour) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = devicePixelRatio * 1.5;
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    for (const { value, text } of this.near()) {
      const y = plot.valToPos(value, "y", true);
      this.line(ctx, [bbox.left, y], [bbox.left + bbox.width, y], colour.limit, [4, 4]);
      const [right, bottom, width] = [bbox.left + bbox.width, y - 2 * devicePixelRatio, ctx.measureText(text).width];
      Object.assign(ctx, { fillStyle: colour.card, textAlign: "right", textBaseline: "bottom" });
      ctx.fillRect(right - width - 2 * devicePixelRatio, bottom - 13 * devicePixelRatio, width + 2 * devicePixelRatio, 13 * devicePixelRatio); // a curve may run through it
      ctx.fillStyle = colour.limit;
      ctx.fillText(text, right, bottom);
    }
    const { min, max } = plot.scales.x;
    for (const { at, rate_rpm: rate } of this.marks.filter((mark) => mark.at >= min && mark.at <= max)) {
      const x = plot.valToPos(at, "x", true);
      this.line(ctx, [x, bbox.top], [x, bbox.top + bbox.height], colour.mark, [2, 4]);
      Object.assign(ctx, { fillStyle: colour.mark, textAlign: "left", textBaseline: "top" });
      ctx.fillText(`${formatNumber(rate)} RPM`, x + 4 * devicePixelRatio, bbox.top);
    }
    ctx.restore();
  }

  line(ctx, from, to, colour, dash) {
    ctx.strokeStyle = colour;
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(...from);
    ctx.lineTo(...to);
    ctx.stroke();
  }
}

charts.push(...CHARTS.map((description) => new Chart(description)));
byId("charts").append(...charts.map((chart) => chart.figure));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.filter((chart) => chart.plot).forEach((chart) => chart.build()));
