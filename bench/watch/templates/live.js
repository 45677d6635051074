"use strict";
/* Renews the page in place: asks what has changed, and changes that alone. What the reader has done stays. */
(() => {
const EVERY = 2000; // ms between two questions
const own = document.currentScript;
let version = own.dataset.version, heard = new Date(), timer = 0;
const KEPT = {DETAILS: ["open", "name"], TH: ["aria-sort"], BUTTON: ["aria-pressed"]}; // the reader's

const key = node => node.dataset?.key ?? node.dataset?.figure ?? node.id ?? "";
const alike = (one, other) => one.nodeName === other.nodeName && (key(one) || "") === (key(other) || "");

function morph(old, made) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== made.nodeValue) old.nodeValue = made.nodeValue;
    return;
  }
  const kept = KEPT[old.nodeName] || [];
  if (old.classList.contains("chart")) return void old.setAttribute("aria-label", made.getAttribute("aria-label"));
  if (old.id === "watcher" || old.id === "trial-table") return; // they fill themselves
  for (const {name} of [...old.attributes]) if (!made.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  for (const {name, value} of made.attributes) if (old.getAttribute(name) !== value && !kept.includes(name)) old.setAttribute(name, value);
  let at = old.firstChild;
  for (const wanted of [...made.childNodes]) {
    let found = at;
    while (found && !alike(found, wanted)) found = found.nextSibling;
    if (!found) { old.insertBefore(wanted, at); continue; }
    if (found === at) at = at.nextSibling; else old.insertBefore(found, at);
    morph(found, wanted);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

function parsed(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content;
}

function renewSections(names, parts) {
  const main = document.querySelector("main");
  let before = main.firstElementChild;
  for (const name of names) {
    let section = document.getElementById(name);
    const made = name in parts ? parsed(parts[name]).querySelector("section") : null;
    if (!section) section = main.insertBefore(made, before);
    else {
      if (section !== before) main.insertBefore(section, before);
      if (made) {
        if (section.querySelector("details")) made.querySelectorAll("details").forEach(fold => { fold.open = false; });
        morph(section, made);
      }
    }
    before = section.nextElementSibling;
  }
  for (const section of main.querySelectorAll(":scope > section")) if (!names.includes(section.id)) section.remove();
}

/* The first thing in sight, so that it stays where it is when what is above it grows. */
function anchor() {
  const all = document.querySelectorAll("main > section > *, main > section details");
  return scrollY < 40 ? null : [...all].find(each => { const {top, height} = each.getBoundingClientRect(); return height > 0 && top >= 40; });
}

function renew(told) {
  const held = anchor(), top = held?.getBoundingClientRect().top;
  Object.assign(figures, told.figures);
  const {header, nav, ...sections} = told.parts;
  if (header !== undefined) {
    const made = document.createElement("header");
    made.innerHTML = header;
    morph(document.querySelector("header"), made);
  }
  if (nav !== undefined) {
    const made = document.createElement("div");
    made.innerHTML = nav;
    morph(document.querySelector("nav > div"), made);
  }
  renewSections(told.sections, sections);
  document.querySelectorAll("[data-relayout][aria-pressed=true]").forEach(button => {
    if (button.dataset.target in told.figures) relayout(button);
  });
  document.querySelectorAll("table.sortable").forEach(sort);
  if (window.Plotly) {
    for (const chart of drawn) if (!chart.isConnected) { Plotly.purge(chart); drawn.delete(chart); }
    find();
    for (const chart of drawn) if (chart.dataset.figure in told.figures) draw(chart);
    look();
  }
  if (held?.isConnected) scrollBy(0, held.getBoundingClientRect().top - top);
  document.dispatchEvent(new CustomEvent("renewed"));
}

const say = text => {
  const place = document.getElementById("watcher");
  if (place && place.textContent !== text) place.textContent = text;
};

async function ask() {
  clearTimeout(timer);
  try {
    const answer = await fetch(`${own.dataset.state || "state"}?since=${encodeURIComponent(version)}`, {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const told = await answer.json();
    heard = new Date();
    say("");
    if (told.version !== version) { renew(told); version = told.version; }
  } catch (error) {
    if (!(error instanceof TypeError) && !/^\d+$/.test(error.message)) console.error(error);
    say(`ssl-bench watch does not answer; this is the state of ${heard.toLocaleTimeString()}. Start it again, and the page goes on.`);
  }
  if (!document.hidden) timer = setTimeout(ask, EVERY);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
document.addEventListener("click", async event => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try { await navigator.clipboard.writeText(button.dataset.copy); button.textContent = "copied"; }
  catch { getSelection().selectAllChildren(button.parentElement.querySelector("code")); }
});
document.documentElement.style.overflowAnchor = "none"; // the browser's own would do it twice
timer = setTimeout(ask, EVERY);
})();
