"use strict";
// The page's states: before a run, during one, after it. Asks for what is new every two seconds while it is looked at.

const EVERY_MS = 2000;
const KEEP_POINTS = 1800;
let points = [];
let shownRun = null;
let rateIsEdited = false;
let shownRate;
let shownPhase = "";
let heardAt = 0;

// What the run would come to if it ended now, and what it came to.
const SO_FAR = {
  untrusted: ["Not to be trusted so far", "bad"], searching: ["Searching: each level is judged by itself", ""], waiting: ["No request has ended yet", ""],
  failing: ["Would fail if it ended now", "bad"], undecided: ["Not decided yet", ""], holding: ["Would pass if it ended now", "good"], none: ["No criteria were given", ""],
};
const VERDICTS = {
  passed: ["Passed", "good"], failed: ["Failed", "bad"], untrusted: ["Not to be trusted", "bad"], interrupted: ["Interrupted", "bad"], none: ["Ended; no criteria were given", ""],
};

function showVerdict(run, isOn) {
  const { verdict, so_far: soFar } = run;
  const [words, style] = verdict ? VERDICTS[verdict.state] ?? [verdict.state, ""] : isOn ? SO_FAR[soFar.state] : ["The verdict is being made", ""];
  const notHeld = run.criteria.filter((each) => each.state !== "held").map(inWords);
  const replaced = run.criteria_replaced.map((each) => `Not judged: ${each}`);
  const isPlain = (each) => each.kind !== "criterion" && !(each.kind === "interrupted" && run.stop_reason);
  const others = verdict ? verdict.reasons.filter(isPlain).map((each) => each.text ?? each) : [];
  byId("conclusion").className = `verdict ${style}`;
  setText("verdict", verdict?.has_failed && verdict.state === "untrusted" ? "Not to be trusted, and failed" : words);
  const said = verdict ? (verdict.state === "untrusted" ? [...others, ...notHeld] : [...notHeld, ...others]) : soFar.reasons;
  const stop = run.stop_reason ? [`Stopped: ${run.stop_reason}`] : [];
  const unsaid = [...stop, ...run.problems].filter((each) => !said.some((text) => text.includes(each.replace(/^Stopped: /, ""))));
  setItems(byId("verdict-reasons"), [...replaced, ...unsaid, ...said].map(keepUnits));
  const { ok, throttled, failed, cancelled, aborted, dropped } = run.counts;
  const ended = ok + throttled + failed;
  const of = (count) => (ended ? ` (${formatNumber(percent(count, ended))} %)` : "");
  const parts = [`${formatNumber(ok)} answered`, `${formatNumber(throttled)} throttled${of(throttled)}`, `${formatNumber(failed)} failed${of(failed)}`];
  if (cancelled) parts.push(`${formatNumber(cancelled)} cut off at the end`);
  if (aborted) parts.push(`${formatNumber(aborted)} aborted`);
  if (dropped) parts.push(`${formatNumber(dropped)} dropped`);
  setText("verdict-counts", keepUnits(`${counted(ended + cancelled + aborted, "request")} ended in ${formatDuration((run.ended_at ?? run.at) - run.started_at)}: ${parts.join(", ")}.`));
}

function showBar(live) {
  const { run, progress } = live;
  byId("bar").hidden = !live.is_on || !run;
  if (byId("bar").hidden) return;
  setText("bar-phase", live.phase);
  byId("bar-phase").className = "badge";
  byId("bar-progress").hidden = false;
  setText("bar-name", run.test_name);
  const bar = byId("progress");
  bar.hidden = !progress?.duration_s;
  if (!bar.hidden) bar.value = Math.min(1, progress.elapsed_s / progress.duration_s);
  const elapsed = progress ? formatDuration(progress.elapsed_s) : "";
  setText("bar-left", progress?.duration_s ? `${formatDuration(progress.left_s)} left of ${formatDuration(progress.duration_s)}` : `${elapsed} so far, until ${run.search ? "the search is over" : "it is stopped"}`);
  setText("bar-level", progress?.level ?? "");
  const asked = progress?.rate_rpm ?? null;
  const users = live.phase === "starting users" ? `${formatNumber(run.users)} of ${counted(live.target_users, "user")}` : counted(run.users, "user");
  setText("bar-rate", asked === null ? `${users}, ${formatNumber(run.figures[0].ok_rpm)} RPM answered` : `${formatNumber(asked)} RPM asked for, ${formatNumber(run.figures[0].ok_rpm)} answered`);
}

// The run that the page shows, among the runs of this process.
function shownEntry(live) {
  return live.runs.find((each) => each.number === live.runs.length);
}

function link(id, href, isReady) {
  byId(id).hidden = !isReady;
  if (isReady) byId(id).setAttribute("href", href);
}

function showActions(live) {
  const entry = shownEntry(live);
  byId("ended-actions").hidden = live.is_on || !entry;
  if (byId("ended-actions").hidden) return;
  byId("ended-actions").dataset.number = entry.number;
  link("open-report", `./llm/runs/${entry.number}/report.html`, entry.report === "ready");
  setText("report-said", entry.report === "making" ? "The report is being made." : entry.report === "failed" ? `No report: ${entry.problem}` : "");
  byId("compare").hidden = !entry.previous || entry.comparison === "ready";
  byId("compare").disabled = entry.comparison === "making";
  link("open-comparison", `./llm/runs/${entry.number}/comparison.html`, entry.comparison === "ready");
  const said = { making: `Comparing with ${entry.previous}.`, failed: `No comparison: ${entry.comparison_problem}` }[entry.comparison];
  if (said || byId("again-said").dataset.of === "comparison") setText("again-said", said ?? "");
  if (said) byId("again-said").dataset.of = "comparison";
}

function showRuns(runs) {
  const text = JSON.stringify(runs);
  if (byId("run-list").dataset.shown === text) return; // a link must not vanish under the pointer
  byId("run-list").dataset.shown = text;
  const items = runs.map((each) => {
    const item = element("li", `${each.name} `);
    for (const name of each.files) {
      item.append(Object.assign(element("a", name), { href: `./llm/runs/${each.number}/${name}` }), " ");
    }
    if (each.report === "making") item.append("the report is being made");
    if (each.report === "failed") item.append(`no report: ${each.problem}`);
    return item;
  }).reverse();
  byId("run-list").replaceChildren(...(items.length ? items : [element("li", "None yet.")]));
}

function showRate(live) {
  const run = live.run;
  const canChange = Boolean(run && live.is_on && run.rate.can_change);
  byId("rate-form").hidden = !canChange;
  // Only when it has changed: whoever edits the field must not find another number in it.
  if (canChange && run.rate.rpm !== shownRate && !rateIsEdited) byId("rate").value = run.rate.rpm ?? "";
  if (canChange) shownRate = run.rate.rpm;
}

// Which parts are there: the start form when no run is on, the run's figures once there are any.
function showPhase(live) {
  const phase = live.is_on ? "running" : live.run ? "ended" : "idle";
  byId("run-part").hidden = byId("conclusion").hidden = phase === "idle";
  byId("start-section").hidden = byId("to-start").hidden = phase === "running";
  const from = shownPhase;
  shownPhase = phase;
  if (from && from !== phase && phase !== "idle") scrollTo({ top: 0 });
}

function forget(directory) {
  shownRun = directory;
  points = [];
  rateIsEdited = false;
  shownRate = undefined;
  for (const id of ["rate-said", "again-said", "start-said"]) setText(id, "");
}

function show(live) {
  const run = live.run;
  const times = run ? `${formatClock(run.started_at, true)} to ${run.ended_at ? formatClock(run.ended_at, true) : "now"}` : "";
  setText("state", run ? `${live.is_on ? live.phase : live.state}: ${run.test_name}, ${times}` : live.state);
  document.title = `${live.is_on ? "● " : ""}LLM load test`;
  if (run && run.directory !== shownRun) forget(run.directory);
  showPhase(live);
  showBar(live);
  showRate(live);
  showActions(live);
  showRuns(live.runs);
  byId("problem").hidden = true;
  byId("stop").disabled = live.state === "stopping";
  if (!run) return;
  const last = points.at(-1)?.at ?? 0;
  points = [...points, ...live.points.filter((point) => point.at > last)].slice(-KEEP_POINTS);
  if (run.ended_at) points = points.filter((point) => point.at <= run.ended_at + 0.1);
  showVerdict(run, live.is_on);
  showTiles(run);
  showTables(run);
  showSearch(run.search);
  charts.forEach((chart) => chart.draw(points, run));
}

async function poll() {
  try {
    if (!document.hidden) {
      const since = points.at(-1)?.at ?? 0;
      const response = await fetch(`./llm/live?since=${since}`);
      if (response.redirected) { location.reload(); return; } // the login has ended
      const live = await response.json();
      if (live.run && live.run.directory !== shownRun && since) { // a new run: its points from the start
        forget(live.run.directory);
        setTimeout(poll, 0);
        return;
      }
      show(live);
    }
    heardAt = Date.now() / 1000;
  } catch (error) {
    lose(error);
  }
  setTimeout(poll, EVERY_MS);
}

// Locust does not answer: what is shown is old, and a verdict that may have changed since is none.
function lose(error) {
  const was = shownPhase === "running";
  const since = heardAt ? `What is below is from ${formatClock(heardAt, true)}. ` : "";
  const then = was ? "The run may be on or have ended: look at the terminal in which Locust was started." : "Look at the terminal in which Locust was started.";
  setText("state", "no answer from Locust");
  setText("problem", `No answer from Locust (${error.message}). ${since}${then} This page goes on asking.`);
  byId("problem").hidden = false;
  if (!was) return;
  setText("bar-phase", "connection lost");
  byId("bar-phase").className = "badge lost";
  byId("bar-progress").hidden = true;
  byId("conclusion").className = "verdict";
  setText("verdict", "Not known while the connection is lost");
  setItems(byId("verdict-reasons"), []);
}

// Posts JSON; what went wrong instead of an answer is an answer, too.
async function post(path, body) {
  try {
    return await (await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) })).json();
  } catch (error) {
    return { success: false, message: `No answer from Locust: ${error.message}` };
  }
}

async function stop() {
  byId("stop").disabled = true;
  setText("bar-phase", "stopping");
  try {
    await fetch("./stop", { method: "POST" });
  } catch (error) {
    byId("stop").disabled = false;
    lose(error);
  }
}

async function changeRate(event) {
  event.preventDefault();
  const answer = await post("./llm/rate", { rate: byId("rate").value });
  rateIsEdited = false;
  byId("rate").setAttribute("aria-invalid", String(!answer.success));
  setText("rate-said", answer.success ? `Holds from ${formatClock(answer.at, true)} on` : answer.message);
  byId("rate-said").className = answer.success ? "good" : "bad";
}

async function compareWithLast() {
  const answer = await post(`./llm/runs/${byId("ended-actions").dataset.number}/compare`, {});
  byId("again-said").dataset.of = answer.success ? "comparison" : ""; // with the comparison its word goes
  setText("again-said", answer.success ? "Comparing." : answer.message);
}

byId("rate").addEventListener("input", () => { rateIsEdited = true; });
byId("rate-form").addEventListener("submit", changeRate);
byId("stop").addEventListener("click", stop);
byId("run-again").addEventListener("click", runAgain);
byId("compare").addEventListener("click", compareWithLast);
poll();
