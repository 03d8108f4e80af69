"use strict";
// Numbers, times and elements: what every other script of the page uses.

const byId = (id) => document.getElementById(id);

function formatNumber(value) {
  if (value === null || value === undefined) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : 1;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits });
}

// 1 user, 2 users.
function counted(value, noun) {
  const text = formatNumber(value);
  return `${text} ${noun}${text === "1" ? "" : "s"}`;
}

function formatClock(at, seconds) {
  return new Date(at * 1000).toLocaleTimeString([], { hourCycle: "h23", hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}) });
}

// Seconds as 0:42, 12:05 or 1:00:00.
function formatDuration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = whole >= 3600 ? [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60] : [Math.floor(whole / 60), whole % 60];
  return parts.map((part, at) => (at ? String(part).padStart(2, "0") : String(part))).join(":");
}

// A figure and its unit stay on one line.
function keepUnits(text) {
  return text.replace(/(\d) (?=%|ms\b|s\b)/g, "$1\u00a0").replace(/n = (?=\d)/g, "n\u00a0=\u00a0").replace(/(\(\d+) of (?=\d)/g, "$1\u00a0of\u00a0");
}

function percent(part, whole) {
  return whole ? (part / whole) * 100 : null;
}

function element(name, text = "", style = "") {
  return Object.assign(document.createElement(name), { textContent: text, className: style });
}

function cell(text, style = "") {
  return element("td", text, style);
}

function fill(id, rows) {
  byId(id).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells);
    return row;
  }));
}

// Only when it has changed: what is read aloud, pointed at or selected must not be replaced by the same.
function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

function setItems(list, texts) {
  const shown = JSON.stringify(texts);
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.hidden = texts.length === 0;
  list.replaceChildren(...texts.map((text) => element("li", text)));
}
