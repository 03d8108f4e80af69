"use strict";
// The figures of the last minute as tiles, coloured by the criteria about them, and the tables.

const STATES = { held: "holds", failed: "FAILS", no_data: "no data" };
const ENDED_STATES = { held: "held", failed: "FAILED", no_data: "NO DATA" };
const statesOf = (run) => (run.ended_at === null ? STATES : ENDED_STATES);

// A criterion and what needs saying of its value.
const inWords = ({ sentence, note }) => (note ? `${sentence}; ${note}` : sentence);

// What the criteria about one of the metrics say: the worst of them decides.
function judge(run, metrics) {
  const about = run.criteria.filter((each) => metrics.includes(each.metric));
  const worst = ["failed", "no_data", "held"].find((state) => about.some((each) => each.state === state));
  if (!worst) return null;
  const words = about.filter((each) => each.state === worst).map((each) => (each.name === null ? "" : `${each.name}: `) + (each.aggregation === "percentage" ? "" : `${each.aggregation} `) + each.words);
  const state = worst === "no_data" && run.ended_at === null ? "undecided" : worst;
  return { state, text: keepUnits(`${statesOf(run)[worst]}: ${words.join("; ")}`) };
}

function tile(title, main, { more = "", meter = null, judged = null, warning = "" } = {}) {
  const box = document.createElement("div");
  if (judged) box.className = judged.state;
  else if (warning) box.className = "warning";
  box.append(element("dt", title), element("dd", main, "main"));
  if (meter !== null) {
    const holder = document.createElement("dd");
    const bar = Object.assign(document.createElement("meter"), { min: 0, max: 100, low: 80, high: 95, optimum: 0, value: Math.min(100, meter) });
    bar.setAttribute("aria-label", `${title}: ${formatNumber(meter)} % of the limit`);
    holder.append(bar);
    box.append(holder);
  }
  if (more) box.append(element("dd", keepUnits(more), "more"));
  if (judged || warning) box.append(element("dd", judged ? judged.text : warning, "judged"));
  return box;
}

// What a percentile needs before it is a number: p95 20 values, p99 100.
function quantiles(run, title, values, metrics) {
  const main = `${formatNumber(values.p50)} / ${formatNumber(values.p95)} / ${formatNumber(values.p99)}`;
  const missing = values.p95 === null ? "; p95 needs 20, p99 100" : values.p99 === null ? "; p99 needs 100" : "";
  return tile(`${title} p50 / p95 / p99, ms`, main, { more: `n = ${values.n}${missing}`, judged: judge(run, metrics) });
}

function shareTile(run, title, part, whole, metrics, what) {
  const value = percent(part, whole);
  return tile(title, value === null ? "–" : `${formatNumber(value)} %`, {
    more: whole ? `${formatNumber(part)} of ${counted(whole, "request")}` : "no request has ended",
    judged: judge(run, metrics), warning: part ? what : "",
  });
}

// Above a quota its bar is full: by how much is said.
function ofQuotaText(value, limit) {
  const share = value === null ? null : percent(value, limit);
  return limit ? `; quota ${formatNumber(limit)}${share === null ? "" : `, ${formatNumber(share)} % of it`}` : "";
}

function rateTiles(run, all) {
  const { quota } = run;
  const offered = run.offered_rpm === null ? "" : `offered ${formatNumber(run.offered_rpm)}, `;
  const ended = all.tally.ok + all.tally.throttled + all.tally.failed;
  const ofQuota = (value, limit) => (limit && value !== null ? percent(value, limit) : null);
  return [
    shareTile(run, "Throttled", all.tally.throttled, ended, ["throttled"], "the service refused a part of the load (429)"),
    shareTile(run, "Failed", all.tally.failed, ended, ["error"], "requests failed for another reason than 429"),
    tile("Requests per minute", formatNumber(all.ok_rpm), {
      more: `answered; ${offered}throttled ${formatNumber(all.throttled_rpm)}, failed ${formatNumber(all.failed_rpm)}${ofQuotaText(all.ok_rpm, quota.rpm)}`,
      meter: ofQuota(all.ok_rpm, quota.rpm), judged: judge(run, ["rpm", "requests_per_sec", "requests"]),
    }),
    quantiles(run, "TTFT", all.ttft_ms, ["ttft_ms", "ttft_from_due_ms", "latency"]),
    quantiles(run, "E2E", all.e2e_ms, ["e2e_ms", "e2e_from_due_ms", "response_time_ms"]),
    quantiles(run, "TBT", all.tbt_ms, ["tbt_ms"]),
    tile("Tokens/s seen by a user", formatNumber(all.tokens_per_s_user), { more: "1000 / median TBT" }),
    tile("Tokens per minute", formatNumber(all.total_tpm), {
      more: `${all.total_tpm === null ? "no answer has said what it used" : `${formatNumber(all.prompt_tpm)} prompt + ${formatNumber(all.generated_tpm)} generated`}${ofQuotaText(all.total_tpm, quota.tpm)}`,
      meter: ofQuota(all.total_tpm, quota.tpm), judged: judge(run, ["tpm"]),
    }),
    tile("Tokens per minute, estimated by the limiter", formatNumber(all.estimated_tpm), {
      more: `prompt + max_tokens${ofQuotaText(all.estimated_tpm, quota.tpm)}`, meter: ofQuota(all.estimated_tpm, quota.tpm),
    }),
  ];
}

function stateTiles(run, all) {
  const { service, budget } = run;
  const tiles = [tile("In flight", formatNumber(run.in_flight), { more: counted(run.users, "user") })];
  const dropped = judge(run, ["dropped", "lag_ms"]);
  if (dropped || all.tally.dropped) {
    tiles.push(tile("Dropped", formatNumber(all.tally.dropped), { more: "requests that no user was free to send in time", judged: dropped, warning: all.tally.dropped ? "a part of the load was not sent" : "" }));
  }
  if (service.utilization_pct !== null) tiles.push(tile("Utilization", `${formatNumber(service.utilization_pct)} %`, { more: "as the service said last", meter: service.utilization_pct }));
  if (service.remaining_tokens !== null || service.remaining_requests !== null) {
    tiles.push(tile("Left of the quota", formatNumber(service.remaining_tokens), { more: `tokens; ${counted(service.remaining_requests, "request")}, as the service said last` }));
  }
  const spent = [budget.max_tokens ? `of ${formatNumber(budget.max_tokens)} tokens` : "tokens",
    budget.max_requests ? `${formatNumber(budget.requests)} of ${counted(budget.max_requests, "request")}` : counted(budget.requests, "request")];
  if (budget.cost !== null) spent.push(`cost ${budget.cost.toFixed(4)} ${budget.currency}` + (budget.max_cost === null ? "" : ` of ${budget.max_cost}`));
  tiles.push(tile("Spent in this run", formatNumber(budget.tokens), { more: spent.join("; "), meter: budget.max_tokens && budget.tokens !== null ? percent(budget.tokens, budget.max_tokens) : null }));
  return tiles;
}

function showTiles(run) {
  const all = run.figures[0];
  setText("figures-note", `${counted(all.seconds, "second")} to ${formatClock(run.at, true)}${run.ended_at ? ", when the test ended" : ""}. Counts are exact, percentiles within ${run.percentile_error_pct} %. A request counts when it ends; criteria are of the whole run after its warm-up.`);
  byId("tiles").replaceChildren(...rateTiles(run, all), ...stateTiles(run, all));
}

function showTables(run) {
  fill("names", run.figures.map((each) => [
    cell(each.name ?? "all"),
    ...[each.ok_rpm, each.throttled_rpm, each.failed_rpm, each.total_tpm, each.ttft_ms.p50, each.ttft_ms.p95, each.ttft_ms.p99,
      each.tbt_ms.p50, each.tbt_ms.p95, each.e2e_ms.p50, each.e2e_ms.p95, each.e2e_ms.n].map((value) => cell(formatNumber(value), "number")),
  ]));
  byId("criteria-section").hidden = run.criteria.length === 0;
  const styles = { held: "good", failed: "bad", no_data: run.ended_at === null ? "" : "bad" };
  fill("criteria", run.criteria.map((each) => [cell(statesOf(run)[each.state], styles[each.state]), cell(keepUnits(each.value === null && run.ended_at === null ? each.sentence : inWords(each))), cell(each.text)]));
  fill("workers", run.workers.map((each) => [
    cell(each.worker), ...[each.lag_p95_ms, each.lag_max_ms, each.cpu_pct].map((value) => cell(formatNumber(value), "number")),
    each.silent_s === null ? cell(each.late ? "late" : "in time", each.late ? "bad" : "good") : cell(`not heard of for ${formatNumber(Math.round(each.silent_s))} s`, "bad"),
  ]));
}

function showSearch(search) {
  byId("search-section").hidden = !search;
  if (!search) return;
  setText("search-now", search.now || search.sentence || "");
  fill("search", (search.levels || []).map((level) => [
    cell(`${formatNumber(level.load)} ${search.unit}`), cell(level.purpose || ""), cell(level.holds ? "yes" : "no", level.holds ? "good" : "bad"),
    cell((level.breaks || []).join("; ")),
  ]));
}
