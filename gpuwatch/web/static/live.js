// Keeps what is shown up to date: whenever a pass has ended the view is asked for again, and what changed is put in
// place. Whatever happens, what was there stays, with how old it is.

import { tell } from "./dom.js";
import { load } from "./loading.js";
import { now, relate, setClock, span } from "./times.js";

const POLL_SECONDS = 60;
const OLD_PASSES = 3; // as many intervals without a pass are worth a word

export function follow(enhance) {
  const age = document.getElementById("age");
  if (!age) return;
  new Live(age, enhance).start();
}

class Live {
  constructor(age, enhance) {
    this.age = age;
    this.enhance = enhance;
    this.number = Number(age.dataset.number);
    this.failed = "";
    this.busy = false;
    this.again = false;
    this.asked = Date.now();
  }

  start() {
    this.tick();
    setInterval(() => this.tick(), 5000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && this.missed) this.refresh(); });
    this.listen();
  }

  listen() {
    const stream = new EventSource("/ui/events");
    stream.addEventListener("pass", (event) => {
      const said = JSON.parse(event.data);
      setClock(said.now);
      this.tick();
      if (said.number === this.number) return;
      this.number = said.number;
      this.refresh();
    });
    // Refused for good (too many streams): ask by the clock instead.
    stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) this.polls = true; };
    addEventListener("pagehide", () => stream.close());
  }

  tick() {
    const made = Number(this.age.dataset.pass);
    const since = document.getElementById("since");
    if (this.polls && Date.now() - this.asked > POLL_SECONDS * 1000) this.refresh();
    if (!since || !made) return;
    const seconds = Math.max(0, now() - made);
    const old = seconds > OLD_PASSES * Number(this.age.dataset.interval) + 5;
    since.textContent = ` (${span(seconds)} ago)${old ? ": no pass has ended since" : ""}${this.failed}`;
    relate(document);
    this.age.classList.toggle("old", old || this.failed !== "");
  }

  async refresh() {
    this.missed = document.hidden;
    if (document.hidden) return; // nobody looks; asked again when somebody does
    if (this.busy) { this.again = true; return; }
    this.busy = true;
    this.asked = Date.now();
    try {
      const { page } = await load(location.href);
      this.failed = "";
      if (page) this.put(page);
    } catch (error) {
      this.failed = `; not renewed: ${error.message}`;
    }
    this.busy = false;
    this.tick();
    if (this.again) { this.again = false; this.refresh(); }
  }

  put(page) {
    const fresh = document.importNode(page.getElementById("main"), true);
    const old = document.getElementById("main");
    keepWhatIsOpen(old, fresh);
    const held = focusOf(old);
    const scrolled = scrollY;
    old.replaceChildren(...fresh.childNodes);
    const age = page.getElementById("age");
    if (age) {
      this.age.replaceChildren(...document.importNode(age, true).childNodes);
      Object.assign(this.age.dataset, age.dataset);
    }
    this.enhance(old);
    restore(old, held);
    scrollTo(scrollX, scrolled);
    tell("Figures renewed");
  }
}

// Someone who reads the numbers of a chart goes on reading, and what is typed stays typed.
function keepWhatIsOpen(old, fresh) {
  const [before, after] = [old, fresh].map((root) => [...root.querySelectorAll("details")]);
  for (const [place, each] of after.entries()) {
    if (before[place]) { each.open = before[place].open; each.dataset.kept = "yes"; }
  }
  for (const field of old.querySelectorAll("input[name], select[name]")) {
    const same = field.name && fresh.querySelector(`form [name="${CSS.escape(field.name)}"]`);
    if (same && field.type !== "hidden") same.value = field.value;
  }
}

function focusOf(root) {
  const held = document.activeElement;
  if (!held || !root.contains(held)) return null;
  const alike = alikes(root, held);
  return { selector: selectorOf(held), place: alike.indexOf(held), start: held.selectionStart ?? null };
}

function restore(root, held) {
  if (!held) return;
  const found = [...root.querySelectorAll(held.selector)];
  const element = found[Math.min(held.place, found.length - 1)];
  if (!element) return;
  element.focus({ preventScroll: true });
  if (held.start !== null && element.setSelectionRange && element.type !== "hidden") element.setSelectionRange(held.start, held.start);
}

function alikes(root, held) {
  return [...root.querySelectorAll(selectorOf(held))];
}

function selectorOf(held) {
  if (held.tagName === "A") return `a[href="${CSS.escape(held.getAttribute("href"))}"]`;
  return held.name ? `${held.tagName}[name="${CSS.escape(held.name)}"]` : held.tagName;
}
