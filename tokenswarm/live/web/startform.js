"use strict";
// The start form: fields by group, filled from a scenario, sent to Locust's own start. Problems are shown beside Start
// and at the fields that they are about.

const LOCUST_FIELDS = [
  ["user_count", "users", "users; in an open load the most requests under way at once"],
  ["spawn_rate", "spawn-rate", "users started per second"],
  ["run_time", "run-time", "20, 20s, 3m, 1h20m; empty: until it is stopped"],
  ["host", "host", "URL of the endpoint or orchestrator"],
];
let initial = {};
const ofTarget = new Set(); // fields that say where the load goes: a scenario that is silent about them leaves them
let loadedLocustfile = null;

function addField(parent, { name, label, help, choices = [], value }) {
  const field = document.createElement("div");
  field.className = "field";
  const caption = document.createElement("label");
  caption.htmlFor = `field-${name}`;
  caption.textContent = label;
  const input = document.createElement(choices.length ? "select" : "input");
  if (choices.length) input.append(...["", ...choices].map((choice) => new Option(choice || "default", choice)));
  input.id = `field-${name}`;
  input.name = name;
  input.value = value;
  input.autocomplete = "off";
  input.setAttribute("aria-describedby", `help-${name}`);
  input.addEventListener("input", () => markField(name, []));
  const explained = Object.assign(element("p", help, "help"), { id: `help-${name}` });
  const wrong = Object.assign(element("p", "", "error"), { id: `error-${name}`, hidden: true });
  field.append(caption, input, wrong, explained);
  parent.append(field);
  initial[name] = value;
}

function addGroup(title) {
  const group = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = title;
  const fields = document.createElement("div");
  fields.className = "fields";
  fields.setAttribute("role", "group");
  fields.setAttribute("aria-label", title);
  group.append(summary, fields);
  byId("fields").append(group);
  return fields;
}

// Groups in which something is set are open; the others wait to be opened.
function openUsedGroups() {
  for (const group of document.querySelectorAll("#fields details")) {
    group.open = [...group.querySelectorAll("input, select")].some((input) => input.value !== "");
  }
}

async function loadForm() {
  const form = await (await fetch("./llm/form")).json();
  loadedLocustfile = form.locustfile;
  const users = addGroup("Users and time");
  for (const [name, label, help] of LOCUST_FIELDS) addField(users, { name, label, help, value: form.locust[name] });
  for (const group of form.groups.filter((each) => each.fields.length)) {
    const fields = addGroup(group.title);
    group.fields.forEach((field) => addField(fields, field));
    if (group.group === "target") group.fields.forEach((field) => ofTarget.add(field.name));
  }
  openUsedGroups();
  const chooser = byId("scenario");
  chooser.append(...form.scenarios.map((name) => new Option(name.replace(/\.conf$/, ""), name)));
  if (form.scenario) {
    chooser.value = byId("filled-from").value = form.scenario;
    setText("scenario-said", `The form holds ${form.scenario}, with which Locust was started.`);
  }
  byId("scenario-form").hidden = form.scenarios.length === 0;
}

async function fillFromScenario(event) {
  event.preventDefault();
  const name = byId("scenario").value;
  if (!name) { setText("scenario-said", "Choose a scenario first."); return; }
  const answer = await (await fetch(`./llm/scenarios/${encodeURIComponent(name)}`)).json();
  const said = byId("scenario-said");
  if (!answer.success) { said.textContent = answer.message; return; }
  const ofLocust = new Set(LOCUST_FIELDS.map(([field]) => field));
  for (const field of Object.keys(initial)) {
    const fallback = ofLocust.has(field) || ofTarget.has(field) ? initial[field] : "";
    byId(`field-${field}`).value = answer.values[field] ?? fallback;
  }
  byId("filled-from").value = name;
  showProblems([]);
  openUsedGroups();
  const notes = [`The form holds ${name} now; nothing has started.`];
  if (answer.left_out.length) notes.push(`Not for a form, give them on the command line: ${answer.left_out.join(", ")}.`);
  const wanted = answer.locustfile ? answer.locustfile.split("/").at(-1) : null;
  if (wanted && loadedLocustfile && wanted !== loadedLocustfile) {
    notes.push(`It is meant for ${wanted}; this Locust runs ${loadedLocustfile}. Start Locust with --config to use it.`);
  }
  said.textContent = notes.join(" ");
}

// What is wrong with a field, at the field; nothing takes it away.
function markField(name, problems) {
  const input = byId(`field-${name}`);
  const wrong = byId(`error-${name}`);
  if (!input) return;
  wrong.hidden = problems.length === 0;
  wrong.textContent = problems.map((problem) => problem.slice(problem.indexOf(": ") + 1).trim()).join("; ");
  if (problems.length) {
    input.setAttribute("aria-invalid", "true");
    input.closest("details").open = true;
  } else {
    input.removeAttribute("aria-invalid");
  }
  input.setAttribute("aria-describedby", problems.length ? `error-${name} help-${name}` : `help-${name}`);
}

function listProblem(problem, fields) {
  const item = document.createElement("li");
  const field = Object.keys(fields).find((name) => fields[name].includes(problem));
  if (!field || !byId(`field-${field}`)) { item.textContent = problem; return item; }
  const go = Object.assign(element("a", problem), { href: `#field-${field}` });
  go.addEventListener("click", (event) => { event.preventDefault(); byId(`field-${field}`).focus(); });
  item.append(go);
  return item;
}

// The first field that is wrong has the focus then; the list itself where no field is.
function showProblems(problems, fields = {}) {
  for (const name of Object.keys(initial)) markField(name, fields[name] ?? []);
  const box = byId("start-problems");
  box.hidden = problems.length === 0;
  box.replaceChildren();
  if (!problems.length) return;
  const list = document.createElement("ul");
  list.append(...problems.map((problem) => listProblem(problem, fields)));
  box.append("Not started:", list);
  byId("start-section").hidden = false;
  (document.querySelector("#fields [aria-invalid=true]") ?? box).focus();
}

async function send(form, said) {
  setText(said, "Checking");
  try {
    const response = await fetch("./swarm", { method: "POST", body: new URLSearchParams(form) });
    const answer = await response.json();
    showProblems(answer.success ? [] : answer.problems || [answer.message], answer.fields);
    setText(said, answer.success ? "Started" : "Not started");
  } catch (error) {
    showProblems([`No answer from Locust: ${error.message}`]);
    setText(said, "Not started");
  }
}

async function start(event) {
  event.preventDefault();
  const chosen = byId("scenario").value;
  if (chosen && chosen !== byId("filled-from").value) {
    showProblems([`scenario: ${chosen} is chosen, but the form does not hold its values: press "Fill the form" first, or choose none`]);
    setText("start-said", "Not started");
    return;
  }
  const button = event.target.querySelector("button");
  button.disabled = true;
  await send(new FormData(event.target), "start-said");
  button.disabled = false;
}

// With everything as it was at the last start, whatever the form says by now.
async function runAgain() {
  byId("run-again").disabled = true;
  const form = await (await fetch("./llm/form")).json();
  const values = { ...form.locust, scenario: form.scenario ?? "" };
  for (const field of form.groups.flatMap((group) => group.fields)) values[field.name] = field.value;
  for (const [name, value] of Object.entries(values)) if (byId(`field-${name}`)) byId(`field-${name}`).value = value;
  byId("filled-from").value = values.scenario;
  byId("again-said").dataset.of = "";
  await send(values, "again-said");
  byId("run-again").disabled = false;
}

byId("scenario-form").addEventListener("submit", fillFromScenario);
byId("start-form").addEventListener("submit", start);
loadForm();
