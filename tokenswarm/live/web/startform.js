"use strict";
// The start form: fields by group, filled from a scenario, sent to Locust's own start. Problems come back as a list.

const LOCUST_FIELDS = [
  ["user_count", "users", "users; in an open load the most requests under way at once"],
  ["spawn_rate", "spawn-rate", "users started per second"],
  ["run_time", "run-time", "20, 20s, 3m, 1h20m; empty: until it is stopped"],
  ["host", "host", "URL of the endpoint or orchestrator"],
];
let initial = {};
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
  const explained = document.createElement("p");
  explained.className = "help";
  explained.id = `help-${name}`;
  explained.textContent = help;
  field.append(caption, input, explained);
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
  document.getElementById("fields").append(group);
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
  }
  openUsedGroups();
  const chooser = document.getElementById("scenario");
  chooser.append(...form.scenarios.map((name) => new Option(name.replace(/\.conf$/, ""), name)));
  document.getElementById("scenario-form").hidden = form.scenarios.length === 0;
}

async function fillFromScenario(event) {
  event.preventDefault();
  const name = document.getElementById("scenario").value;
  const answer = await (await fetch(`./llm/scenarios/${encodeURIComponent(name)}`)).json();
  const said = document.getElementById("scenario-said");
  if (!answer.success) { said.textContent = answer.message; return; }
  const ofLocust = new Set(LOCUST_FIELDS.map(([field]) => field));
  for (const field of Object.keys(initial)) {
    const fallback = ofLocust.has(field) ? initial[field] : "";
    document.getElementById(`field-${field}`).value = answer.values[field] ?? fallback;
  }
  openUsedGroups();
  const notes = [`The form holds ${name} now; nothing has started.`];
  if (answer.left_out.length) notes.push(`Not for a form, give them on the command line: ${answer.left_out.join(", ")}.`);
  const wanted = answer.locustfile ? answer.locustfile.split("/").at(-1) : null;
  if (wanted && loadedLocustfile && wanted !== loadedLocustfile) {
    notes.push(`It is meant for ${wanted}; this Locust runs ${loadedLocustfile}. Start Locust with --config to use it.`);
  }
  said.textContent = notes.join(" ");
}

function showProblems(problems) {
  const box = document.getElementById("start-problems");
  box.hidden = problems.length === 0;
  box.replaceChildren();
  if (!problems.length) return;
  const list = document.createElement("ul");
  list.append(...problems.map((problem) => Object.assign(document.createElement("li"), { textContent: problem })));
  box.append("Not started:", list);
}

async function start(event) {
  event.preventDefault();
  const said = document.getElementById("start-said");
  const button = event.target.querySelector("button");
  button.disabled = true;
  said.textContent = "Checking";
  try {
    const response = await fetch("./swarm", { method: "POST", body: new URLSearchParams(new FormData(event.target)) });
    const answer = await response.json();
    showProblems(answer.success ? [] : answer.problems || [answer.message]);
    said.textContent = answer.success ? "Started" : "";
    if (answer.success) document.getElementById("figures").scrollIntoView();
  } catch (error) {
    showProblems([`No answer from Locust: ${error.message}`]);
    said.textContent = "";
  } finally {
    button.disabled = false;
  }
}

document.getElementById("scenario-form").addEventListener("submit", fillFromScenario);
document.getElementById("start-form").addEventListener("submit", start);
loadForm();
