"use strict";

const WEIGHTS = { title: 8, heading: 4, text: 2, code: 1 };
const SHOWN = 30;
const CONTEXT = 70; // characters of a snippet before its first hit

// One pattern per word of the query: a word of the text starts with it.
function patterns(query) {
  const words = query.match(/[\p{L}\p{N}]+/gu) ?? [];
  return words.map((word) => new RegExp(`(?<![\\p{L}\\p{N}])${word}`, "iu"));
}

// Sections in which every word is found, best first; equals stay in the order of the notebooks.
function find(sections, query) {
  const asked = patterns(query);
  const weight = (section, word) =>
    Object.entries(WEIGHTS).reduce((sum, [field, w]) => sum + (word.test(section[field]) ? w : 0), 0);
  const scored = sections.map((section) => [section, asked.map((word) => weight(section, word))]);
  const found = scored.filter(([, weights]) => asked.length && weights.every((w) => w > 0));
  const total = ([, weights]) => weights.reduce((a, b) => a + b);
  return found.sort((a, b) => total(b) - total(a)).map(([section]) => section);
}

// A piece of the text, or of the code if only that has a hit, cut into [plain, hit, plain, hit, ...].
function snippet(section, query) {
  const any = new RegExp(`(${patterns(query).map((word) => word.source).join("|")})`, "iu");
  const text = !any.test(section.text) && any.test(section.code) ? section.code : section.text;
  const start = Math.max(0, text.search(any) - CONTEXT);
  const from = start && text.indexOf(" ", start) + 1;
  const rest = text.slice(from);
  const piece = rest.length > 3 * CONTEXT ? rest.slice(0, 3 * CONTEXT).replace(/\s\S*$/, " …") : rest;
  return ((from ? "… " : "") + piece).split(any);
}

function start() {
  const [form, box, list, state, all] = ["find", "query", "found", "state", "all"].map((id) =>
    document.getElementById(id));
  const sections = JSON.parse(document.getElementById("sections").textContent);

  // Text goes in as text nodes only, so nothing in a notebook is read as HTML.
  function marked(tag, parts) {
    const element = document.createElement(tag);
    element.append(...parts.map((part, i) =>
      i % 2 ? Object.assign(document.createElement("mark"), { textContent: part }) : part));
    return element;
  }

  function item(section) {
    const link = Object.assign(marked("a", [section.heading]), { href: section.link });
    const entry = document.createElement("li");
    entry.append(link, marked("p", [section.title ? "" : section.notebook]), marked("p", snippet(section, box.value)));
    return entry;
  }

  function show() {
    const found = find(sections, box.value);
    list.replaceChildren(...found.slice(0, SHOWN).map(item));
    all.hidden = patterns(box.value).length > 0;
    const first = found.length > SHOWN ? `The first ${SHOWN} of ` : "";
    const count = `${first}${found.length} section${found.length === 1 ? "" : "s"}`;
    state.textContent = all.hidden ? (found.length ? count : "Nothing found.") : "";
  }

  form.hidden = false;
  box.addEventListener("input", show);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    list.querySelector("a")?.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    box.value = "";
    show();
    box.focus();
  });
  addEventListener("pageshow", show); // the browser restores the query when the reader comes back
}

if (typeof document !== "undefined") start();
