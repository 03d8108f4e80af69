"use strict";
// Line charts as SVG: a title, a legend with the latest values, a scale from 0 and clock times.

const SVG = "http://www.w3.org/2000/svg";
const CHARTS = [
  { title: "Tokens per minute", unit: "", limit: (run) => run.quota.tpm, limitName: "quota",
    series: [["total_tpm", "total"], ["prompt_tpm", "prompt"], ["generated_tpm", "generated"], ["estimated_tpm", "estimated"]] },
  { title: "Requests per minute", unit: "", limit: (run) => run.quota.rpm, limitName: "quota",
    series: [["ok_rpm", "answered"], ["offered_rpm", "offered"], ["throttled_rpm", "throttled"], ["failed_rpm", "failed"]] },
  { title: "Time to first token", unit: "ms", series: [["ttft_ms_p50", "p50"], ["ttft_ms_p95", "p95"], ["ttft_ms_p99", "p99"]] },
  { title: "Time between tokens", unit: "ms", series: [["tbt_ms_p50", "p50"], ["tbt_ms_p95", "p95"], ["tbt_ms_p99", "p99"]] },
  { title: "End to end", unit: "ms", series: [["e2e_ms_p50", "p50"], ["e2e_ms_p95", "p95"], ["e2e_ms_p99", "p99"]] },
  { title: "In flight and users", unit: "", series: [["in_flight", "in flight"], ["users", "users"]] },
  { title: "Utilization of the deployment", unit: "%", series: [["utilization_pct", "utilization"]], optional: true },
  { title: "Event-loop lag, worst process", unit: "ms", series: [["lag_p95_ms", "p95"], ["lag_max_ms", "max"]] },
];
const PLOT = { left: 62, right: 8, top: 8, bottom: 22, height: 180 };

function formatNumber(value) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : 1;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

function formatClock(at, seconds) {
  return new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) });
}

function make(name, attributes = {}, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// The round number at or above a value: 1, 2 or 5 times a power of ten.
function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// At most one point for each two pixels: the highest of each stretch, so that no peak disappears.
function thin(points, key, wanted) {
  const known = points.filter((point) => point[key] !== null);
  if (known.length <= wanted) return known;
  const size = known.length / wanted;
  return Array.from({ length: wanted }, (_, at) => known.slice(Math.floor(at * size), Math.floor((at + 1) * size))
    .reduce((best, point) => (point[key] > best[key] ? point : best)));
}

class Chart {
  constructor(description) {
    this.description = description;
    this.figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = description.title + (description.unit ? ` (${description.unit})` : "");
    this.legend = document.createElement("ul");
    this.values = description.series.map(([, name], index) => this.addLegend(`line s${index + 1}`, name));
    this.svg = make("svg", { role: "img" });
    this.figure.append(caption, this.legend, this.svg);
  }

  addLegend(style, name) {
    const item = document.createElement("li");
    const mark = make("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
    mark.append(make("path", { d: "M0 4H26", class: style }));
    const text = document.createElement("span");
    item.append(mark, text);
    item.name = name;
    this.legend.append(item);
    return { item, text, name };
  }

  draw(points, run) {
    const { series, optional, title, unit } = this.description;
    this.figure.hidden = Boolean(optional) && !points.some((point) => series.some(([key]) => point[key] !== null));
    if (this.figure.hidden) return;
    const last = points.at(-1) || {};
    series.forEach(([key], index) => { this.values[index].text.textContent = `${this.values[index].name} ${formatNumber(last[key])}`; });
    const spoken = series.map(([key, name]) => `${name} ${formatNumber(last[key])} ${unit}`).join(", ");
    this.svg.setAttribute("aria-label", `${title} over time; now ${spoken}`);
    this.plot(points, run);
  }

  plot(points, run) {
    const width = Math.max(260, this.svg.clientWidth);
    const { left, right, top, bottom, height } = PLOT;
    const begin = points.length ? points[0].at : 0;
    const end = Math.max(begin + 30, points.length ? points.at(-1).at : 1);
    const limit = this.description.limit ? this.description.limit(run) : null;
    const highest = Math.max(0, ...this.description.series.flatMap(([key]) => points.map((point) => point[key] ?? 0)));
    // A quota far above the load would flatten the curves: it is drawn when the load comes near.
    const showsLimit = limit && highest >= limit * 0.2;
    const ceiling = roundUp(showsLimit ? Math.max(highest, limit * 1.05) : highest);
    const x = (at) => left + ((at - begin) / (end - begin)) * (width - left - right);
    const y = (value) => height - bottom - (value / ceiling) * (height - top - bottom);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren();
    for (const share of [0, 0.5, 1]) {
      const level = y(ceiling * share);
      this.svg.append(make("path", { d: `M${left} ${level}H${width - right}`, class: "grid" }));
      this.svg.append(make("text", { x: left - 6, y: level + 4, "text-anchor": "end" }, formatNumber(ceiling * share)));
    }
    if (points.length) this.labelTimes(x, begin, end, height);
    if (showsLimit) {
      this.svg.append(make("path", { d: `M${left} ${y(limit)}H${width - right}`, class: "limit" }));
      this.svg.append(make("text", { x: width - right, y: y(limit) - 4, "text-anchor": "end" }, `${this.description.limitName} ${formatNumber(limit)}`));
    }
    this.description.series.forEach(([key], index) => {
      const kept = thin(points, key, Math.floor((width - left - right) / 2));
      if (!kept.length) return;
      const path = kept.map((point, at) => `${at ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point[key]).toFixed(1)}`).join("");
      this.svg.append(make("path", { d: kept.length === 1 ? `${path}h2` : path, class: `line s${index + 1}` }));
    });
  }

  labelTimes(x, begin, end, height) {
    const anchors = [[begin, "start"], [(begin + end) / 2, "middle"], [end, "end"]];
    for (const [at, anchor] of anchors) {
      this.svg.append(make("text", { x: x(at), y: height - 6, "text-anchor": anchor }, formatClock(at, end - begin < 600)));
    }
  }
}
