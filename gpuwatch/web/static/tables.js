// Tables that are sorted, searched and leafed through. Rows are the server's: they are moved, never written anew, and
// only as many as fit a page are in the document, so that thousands are sorted in a moment.

import { element, tell } from "./dom.js";
import { relate } from "./times.js";
import { load } from "./loading.js";

const ROWS = 50; // as many as are laid out in a tenth of a second on a slow machine

// What a reader chose outlives the renewal of the page: by caption, as that is what a table is called.
const chosen = new Map();

export function liven(root) {
  for (const table of root.querySelectorAll("table[data-table]")) {
    if (!table.dataset.lively) new Lively(table);
  }
}

class Lively {
  constructor(table) {
    table.dataset.lively = "yes";
    this.table = table;
    this.body = table.tBodies[0];
    this.rows = [...this.body.rows];
    this.key = table.caption.textContent;
    this.choice = chosen.get(this.key) ?? { column: null, down: false, words: "", page: 0 };
    chosen.set(this.key, this.choice);
    this.heads();
    if (table.classList.contains("jobs") && document.getElementById("count")) this.search();
    this.pager = element("div", { class: "pager" });
    table.parentElement.after(this.pager);
    this.show(false);
  }

  heads() {
    for (const [place, head] of [...this.table.tHead.rows[0].cells].entries()) {
      if (!head.hasAttribute("data-sorts")) continue;
      const button = element("button", { type: "button", click: () => this.sort(place) }, head.textContent);
      head.replaceChildren(button);
    }
  }

  search() {
    const form = document.querySelector("form[data-filters]");
    const box = element("input", {
      type: "search", name: "", value: this.choice.words, "aria-controls": "count",
      input: () => { Object.assign(this.choice, { words: box.value, page: 0 }); this.show(true); },
      keydown: (event) => { if (event.key === "Enter") event.preventDefault(); },
    });
    const old = form.querySelector("[data-search]");
    const label = element("label", { "data-search": true }, "Search these", box);
    if (old) old.replaceWith(label);
    else form.prepend(label);
  }

  sort(place) {
    const { choice } = this;
    const number = this.table.tHead.rows[0].cells[place].classList.contains("n");
    // Numbers begin with the largest, words with the first; the same column again turns round.
    choice.down = choice.column === place ? !choice.down : number;
    Object.assign(choice, { column: place, page: 0 });
    this.show(true);
  }

  add(rows) {
    this.rows.push(...rows);
  }

  wanted() {
    const { words, column, down } = this.choice;
    const asked = words.toLowerCase().split(/\s+/).filter(Boolean);
    const found = asked.length ? this.rows.filter((row) => asked.every((word) => textOf(row).includes(word))) : [...this.rows];
    if (column === null) return found;
    const keyed = found.map((row) => [keyOf(row.cells[column]), row]);
    keyed.sort(([one], [other]) => compare(one, other, down));
    return keyed.map(([, row]) => row);
  }

  show(aloud) {
    const found = this.wanted();
    const pages = Math.max(1, Math.ceil(found.length / ROWS));
    const page = Math.min(this.choice.page, pages - 1);
    this.body.replaceChildren(...found.slice(page * ROWS, (page + 1) * ROWS));
    relate(this.body);
    this.mark();
    this.count(found.length, aloud);
    this.leaf(page, pages);
  }

  mark() {
    const { column, down } = this.choice;
    for (const [place, head] of [...this.table.tHead.rows[0].cells].entries()) {
      if (place === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  count(found, aloud) {
    const place = this.table.classList.contains("jobs") ? document.getElementById("count") : null;
    const more = document.querySelector("a[data-more]") ? ", and there are earlier ones" : "";
    const loaded = this.rows.length.toLocaleString("en");
    const said = found === this.rows.length ? `${loaded} jobs${more}` : `${found.toLocaleString("en")} of ${loaded} jobs`;
    if (place) place.textContent = said;
    if (!aloud) return;
    const { column, down } = this.choice;
    const head = column === null ? "" : `, by ${this.table.tHead.rows[0].cells[column].textContent}, ${down ? "descending" : "ascending"}`;
    tell((place ? said : this.key) + head);
  }

  leaf(page, pages) {
    const parts = [];
    const go = (to) => () => { this.choice.page = to; this.show(true); this.table.scrollIntoView({ block: "start" }); };
    if (pages > 1) {
      parts.push(
        element("button", { type: "button", class: "copy", disabled: page === 0, click: go(page - 1) }, "Previous"),
        element("span", {}, `${page + 1} of ${pages}`),
        element("button", { type: "button", class: "copy", disabled: page === pages - 1, click: go(page + 1) }, "Next"),
      );
    }
    const more = this.table.classList.contains("jobs") ? document.querySelector("a[data-more]") : null;
    if (more) {
      more.parentElement.hidden = true;
      parts.push(element("button", { type: "button", class: "copy", click: (event) => this.more(more, event.target) }, "Load earlier jobs"));
    }
    this.pager.replaceChildren(...parts);
  }

  async more(link, button) {
    button.disabled = true;
    button.textContent = "Loading…";
    try {
      const { page } = await load(link.href, { whole: true });
      this.add([...page.querySelectorAll("table.jobs > tbody > tr")].map((row) => document.importNode(row, true)));
      const next = page.querySelector("a[data-more]");
      if (next) link.href = next.getAttribute("href");
      else link.parentElement.remove();
      this.show(true);
    } catch (error) {
      button.disabled = false;
      button.textContent = "Load earlier jobs";
      tell(`Earlier jobs could not be loaded: ${error.message}`);
    }
  }
}

function textOf(row) {
  // Read once: whole titles too, as a long name is cut in what is shown.
  row.words ??= `${row.textContent} ${[...row.querySelectorAll("[title]")].map((each) => each.title).join(" ")}`.toLowerCase();
  return row.words;
}

function keyOf(cell) {
  const said = cell.dataset.sort;
  if (said !== undefined) {
    const number = Number(said);
    return said !== "" && Number.isFinite(number) ? number : said.toLowerCase();
  }
  return cell.classList.contains("n") ? null : cell.textContent.toLowerCase();
}

// What is not known comes last, whichever way round.
function compare(one, other, down) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one !== typeof other) return typeof one === "number" ? -1 : 1;
  const order = typeof one === "number" ? one - other : one < other ? -1 : one > other ? 1 : 0;
  return down ? -order : order;
}
