"use strict";
// The live part of the page: asks for what is new every two seconds while the page is looked at.

const EVERY_MS = 2000;
const KEEP_POINTS = 1800;
const charts = CHARTS.map((description) => new Chart(description));
document.getElementById("charts").append(...charts.map((chart) => chart.figure));
let points = [];
let shownRun = null;
let rateIsEdited = false;
let shownRate;

const byId = (id) => document.getElementById(id);

function cell(text, style = "") {
  return Object.assign(document.createElement("td"), { textContent: text, className: style });
}

function fill(id, rows) {
  byId(id).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells);
    return row;
  }));
}

function tile(title, main, more = "", meter = null) {
  const box = document.createElement("div");
  box.append(
    Object.assign(document.createElement("dt"), { textContent: title }),
    Object.assign(document.createElement("dd"), { textContent: main, className: "main" }),
  );
  if (meter !== null) {
    const holder = document.createElement("dd");
    const bar = Object.assign(document.createElement("meter"), { min: 0, max: 100, low: 80, high: 95, optimum: 0, value: Math.min(100, meter) });
    bar.setAttribute("aria-label", `${title}: ${formatNumber(meter)} % of the limit`);
    holder.append(bar);
    box.append(holder);
  }
  if (more) box.append(Object.assign(document.createElement("dd"), { textContent: more, className: "more" }));
  return box;
}

// What a percentile needs before it is a number: p95 20 values, p99 100.
function quantiles(title, values, digits = "ms") {
  const main = `${formatNumber(values.p50)} / ${formatNumber(values.p95)} / ${formatNumber(values.p99)}`;
  const missing = values.p95 === null ? "; p95 needs 20, p99 100" : values.p99 === null ? "; p99 needs 100" : "";
  return tile(`${title} p50 / p95 / p99, ${digits}`, main, `n = ${values.n}${missing}`);
}

function share(value, limit) {
  return limit && value !== null ? (value / limit) * 100 : null;
}

function showTiles(run) {
  const all = run.figures[0];
  const { quota, service, budget } = run;
  const tiles = [
    tile("Tokens per minute", formatNumber(all.total_tpm),
      `${formatNumber(all.prompt_tpm)} prompt + ${formatNumber(all.generated_tpm)} generated` + (quota.tpm ? `; quota ${formatNumber(quota.tpm)}` : ""),
      share(all.total_tpm, quota.tpm)),
    tile("Tokens per minute, estimated by the limiter", formatNumber(all.estimated_tpm),
      quota.tpm ? `prompt + max_tokens; quota ${formatNumber(quota.tpm)}` : "prompt + max_tokens", share(all.estimated_tpm, quota.tpm)),
    tile("Requests per minute", formatNumber(all.ok_rpm),
      `answered; offered ${formatNumber(run.offered_rpm)}, throttled ${formatNumber(all.throttled_rpm)}, failed ${formatNumber(all.failed_rpm)}` + (quota.rpm ? `; quota ${formatNumber(quota.rpm)}` : ""),
      share(all.ok_rpm, quota.rpm)),
    quantiles("TTFT", all.ttft_ms),
    quantiles("TBT", all.tbt_ms),
    quantiles("E2E", all.e2e_ms),
    tile("Tokens/s seen by a user", formatNumber(all.tokens_per_s_user), "1000 / median TBT"),
    tile("In flight", formatNumber(run.in_flight), `${formatNumber(run.users)} users`),
  ];
  if (service.utilization_pct !== null) tiles.push(tile("Utilization", `${formatNumber(service.utilization_pct)} %`, "as the service said last", service.utilization_pct));
  if (service.remaining_tokens !== null || service.remaining_requests !== null) {
    tiles.push(tile("Left of the quota", formatNumber(service.remaining_tokens), `tokens; ${formatNumber(service.remaining_requests)} requests, as the service said last`));
  }
  const limits = [budget.max_tokens ? `of ${formatNumber(budget.max_tokens)} tokens` : "tokens",
    `${formatNumber(budget.requests)} ${budget.max_requests ? `of ${formatNumber(budget.max_requests)} ` : ""}requests`];
  if (budget.cost !== null) limits.push(`cost ${budget.cost.toFixed(4)}`);
  tiles.push(tile("Spent in this run", formatNumber(budget.tokens), limits.join("; "), share(budget.tokens, budget.max_tokens)));
  byId("tiles").replaceChildren(...tiles);
}

function showTables(run) {
  fill("names", run.figures.map((each) => [
    cell(each.name ?? "all"),
    ...[each.ok_rpm, each.throttled_rpm, each.failed_rpm, each.total_tpm, each.ttft_ms.p50, each.ttft_ms.p95, each.ttft_ms.p99,
      each.tbt_ms.p50, each.tbt_ms.p95, each.e2e_ms.p50, each.e2e_ms.p95, each.e2e_ms.n].map((value) => cell(formatNumber(value), "number")),
  ]));
  const words = { held: ["held", "good"], failed: ["FAILED", "bad"], no_data: ["no data", "bad"] };
  fill("criteria", run.criteria.map((each) => [
    cell(each.text), cell(...(run.ended_at === null && each.state === "no_data" ? ["no data yet", ""] : words[each.state])),
    cell(each.value === null ? formatNumber(null) : `${formatNumber(each.value)} ${each.unit}`, "number"),
    cell(formatNumber(each.n), "number"), cell(each.note),
  ]));
  fill("workers", run.workers.map((each) => [
    cell(each.worker), ...[each.lag_p95_ms, each.lag_max_ms, each.cpu_pct].map((value) => cell(formatNumber(value), "number")),
    cell(each.late ? "late" : "in time", each.late ? "bad" : "good"),
  ]));
  const verdict = run.verdict;
  byId("verdict").textContent = verdict ? `Verdict: ${verdict.state}. ${verdict.reasons.map((reason) => reason.text).join("; ")}` : run.criteria.length ? "" : "No criteria were given.";
  byId("verdict").className = verdict && ["failed", "untrusted"].includes(verdict.state) ? "bad" : "";
}

function showSearch(search) {
  byId("search-section").hidden = !search;
  if (!search) return;
  const levels = search.levels || [];
  byId("search-now").textContent = search.now || search.sentence || "";
  fill("search", levels.map((level) => [
    cell(formatNumber(level.rate_rpm), "number"), cell(level.purpose || ""), cell(level.holds ? "yes" : "no", level.holds ? "good" : "bad"),
    cell((level.breaks || []).join("; ")),
  ]));
}

function showRuns(runs) {
  const items = runs.map((each) => {
    const item = document.createElement("li");
    item.append(`${each.name} `);
    for (const name of each.files) {
      item.append(Object.assign(document.createElement("a"), { href: `./llm/runs/${each.number}/${name}`, textContent: name }), " ");
    }
    if (each.report === "making") item.append("the report is being made");
    if (each.report === "failed") item.append(`no report: ${each.problem}`);
    return item;
  }).reverse();
  const text = JSON.stringify(runs);
  if (byId("run-list").dataset.shown === text) return; // a link must not vanish under the pointer
  byId("run-list").dataset.shown = text;
  byId("run-list").replaceChildren(...(items.length ? items : [Object.assign(document.createElement("li"), { textContent: "None yet." })]));
}

function showControls(live) {
  const run = live.run;
  byId("controls").hidden = !live.is_on;
  const canChange = Boolean(run && live.is_on && run.rate.can_change);
  byId("rate-form").hidden = !canChange;
  // Only when it has changed: whoever edits the field must not find another number in it.
  if (canChange && run.rate.rpm !== shownRate && !rateIsEdited) byId("rate").value = run.rate.rpm ?? "";
  if (canChange) shownRate = run.rate.rpm;
}

function show(live) {
  const run = live.run;
  byId("state").textContent = run ? `${live.state}: ${run.test_name}, ${formatClock(run.started_at, true)} to ${run.ended_at ? formatClock(run.ended_at, true) : "now"}` : live.state;
  document.title = `${live.is_on ? "● " : ""}LLM load test`;
  showControls(live);
  showRuns(live.runs);
  const alarms = run ? [...run.problems, ...(run.stop_reason ? [`Stopped: ${run.stop_reason}`] : [])] : [];
  byId("alarm").hidden = alarms.length === 0;
  byId("alarm").textContent = alarms.join("; ");
  if (!run) return;
  if (run.directory !== shownRun) { shownRun = run.directory; points = []; rateIsEdited = false; shownRate = undefined; byId("rate-said").textContent = ""; }
  const last = points.length ? points.at(-1).at : 0;
  points = [...points, ...live.points.filter((point) => point.at > last)].slice(-KEEP_POINTS);
  byId("figures-note").textContent = `${formatNumber(run.figures[0].seconds)} seconds to ${formatClock(run.at, true)}${run.ended_at ? ", when the test ended" : ""}. Counts are exact, percentiles within ${run.percentile_error_pct} %. A request counts when it ends.`;
  showTiles(run);
  showTables(run);
  showSearch(run.search);
  charts.forEach((chart) => chart.draw(points, run));
}

async function poll() {
  try {
    if (!document.hidden) {
      const since = points.length ? points.at(-1).at : 0;
      const response = await fetch(`./llm/live?since=${since}`);
      if (response.redirected) { location.reload(); return; } // the login has ended
      const live = await response.json();
      if (live.run && live.run.directory !== shownRun && since) { // a new run: its points from the start
        points = [];
        setTimeout(poll, 0);
        shownRun = live.run.directory;
        return;
      }
      show(live);
    }
  } catch (error) {
    byId("state").textContent = `No answer from Locust: ${error.message}`;
  }
  setTimeout(poll, EVERY_MS);
}

async function changeRate(event) {
  event.preventDefault();
  const response = await fetch("./llm/rate", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ rate: byId("rate").value }) });
  const answer = await response.json();
  rateIsEdited = false;
  byId("rate-said").textContent = answer.success ? `Holds from ${formatClock(answer.at, true)} on` : answer.message;
  byId("rate-said").className = answer.success ? "good" : "bad";
}

byId("rate").addEventListener("input", () => { rateIsEdited = true; });
byId("rate-form").addEventListener("submit", changeRate);
byId("stop").addEventListener("click", () => fetch("./stop", { method: "POST" }));
poll();
