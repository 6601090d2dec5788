"use strict";
const data = JSON.parse(document.getElementById("explorer-data").textContent);
const root = document.getElementById("explorer");
const looks = JSON.parse(root.dataset.looks);
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const LABELS = { problem: "Problem", model: "Model", seed: "Seed", thought: "Thought" };
const KEYS = Object.keys(LABELS);
const chosen = Object.fromEntries(KEYS.map((key) => [key, data.thoughts[data.start][key]]));
let step = 0;

function make(name, attributes = {}, text = "") {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== "") element.textContent = text;
  return element;
}

const plain = (x) => (Math.round(100 * x) / 100 + 0).toFixed(2).replace("-", "−");
const signed = (x) => (Math.round(100 * x) > 0 ? "+" : "") + plain(x);
const ink = (hex) => {
  const sum = [1, 3, 5].reduce((total, i) => total + parseInt(hex.slice(i, i + 2), 16), 0);
  return sum < 1.5 * 255 ? "#ffffff" : "#111111";
};
const fits = (thought, keys) => keys.every((key) => thought[key] === chosen[key]);
const current = () => data.thoughts.find((thought) => fits(thought, KEYS));
const goesOn = (t) => t.finished || t.episodes.length < data.best.length - 1;
const last = (t) => t.episodes.length + (goesOn(t) ? 1 : 0);

function choices() {
  for (const key of KEYS) {
    const values = [...new Set(data.thoughts.map((thought) => thought[key]))];
    const label = make("label", values.length > 1 ? { class: key } : { class: key, hidden: "" }, LABELS[key]);
    const select = make("select", { "data-key": key });
    for (const value of values) select.append(make("option", {}, String(value)));
    select.selectedIndex = values.indexOf(chosen[key]);
    select.addEventListener("change", () => {
      chosen[key] = values[select.selectedIndex];
      show(0);
    });
    label.append(select);
    part("choices").append(label);
  }
}

function chart(t) {
  const k = t.episodes.length, horizon = data.best.length - 1, reached = step > k ? horizon : step;
  const left = 40, right = 350, top = 12, bottom = 196;
  const x = (j) => left + ((right - left) * j) / horizon, y = (value) => bottom - (bottom - top) * value;
  const value = (j) => t.values[Math.min(j, k)];
  const drawn = []; // elements of numbers alone, so that no text of a model is read as markup
  const text = (at, height, label, kind) => drawn.push(`<text x="${at}" y="${height}" class="${kind}">${label}</text>`);
  for (const level of [0, 0.25, 0.5, 0.75, 1]) {
    drawn.push(`<line x1="${left}" y1="${y(level)}" x2="${right}" y2="${y(level)}" class="grid"/>`);
    text(left - 5, y(level) + 4, level, "end");
  }
  for (let j = 0; j <= horizon; j += Math.ceil(horizon / 8)) text(x(j), bottom + 16, j, "middle");
  text((left + right) / 2, bottom + 33, "episodes finished", "middle");
  for (let j = 0; j < reached; j++) {
    const high = Math.max(data.best[j], value(j)), low = Math.min(data.best[j], value(j));
    const box = `x="${x(j)}" y="${y(high)}" width="${x(j + 1) - x(j)}" height="${y(low) - y(high)}"`;
    const kinds = data.best[j] < value(j) ? ["ahead"] : ["regret", "regret over"];
    if (high > low) drawn.push(...kinds.map((kind) => `<rect ${box} class="${kind}"/>`));
  }
  const steps = (height, end) => {
    let path = `M${x(0)} ${y(height(0))}`;
    for (let j = 1; j <= end; j++) path += `H${x(j)}V${y(height(j))}`;
    return path;
  };
  drawn.push(`<path d="${steps((j) => data.best[j], horizon)}" class="best"/>`);
  drawn.push(`<path d="${steps(value, reached)}" class="own"/>`);
  for (let j = 0; j <= Math.min(reached, k); j++) {
    const now = j === Math.min(step, k);
    drawn.push(`<circle cx="${x(j)}" cy="${y(value(j))}" r="${now ? 6 : 3.5}" class="${now ? "now" : ""}"/>`);
  }
  part("chart").innerHTML = drawn.join("");
}

function lines(t) {
  const list = part("lines");
  list.replaceChildren();
  const add = (j, label) => {
    const shade = Math.round(t.values[j] * (looks.shades.length - 1));
    const item = make("li"), button = make("button", { type: "button" });
    if (j === Math.min(step, t.episodes.length)) button.setAttribute("aria-current", "step");
    button.style.backgroundColor = looks.shades[shade];
    button.style.color = ink(looks.shades[shade]);
    button.append(make("b", {}, `J = ${plain(t.values[j])}`), make("span", {}, label));
    button.addEventListener("click", () => {
      show(j);
      part("lines").querySelector("[aria-current]").focus();
    });
    item.append(button);
    list.append(item);
  };
  add(0, "(no thinking yet)");
  for (let j = 1; j <= Math.min(step, t.episodes.length); j++) add(j, t.episodes[j - 1].trim());
  list.scrollTop = list.scrollHeight;
}

function paid(t) {
  const k = t.episodes.length, over = step > k;
  const most = Math.max(0.5, ...Object.values(t.paid).flat().map(Math.abs));
  const nothing = step === 0 || (over && !t.finished);
  part("paid-title").textContent = nothing
    ? "What each arm pays: step to an episode to see it"
    : over ? "What each arm pays every token that ends the thought"
    : `What each arm pays every token of episode ${step} (plainest form: nothing divided, weight 1)`;
  const rows = part("paid");
  rows.replaceChildren();
  for (const [name, colour] of Object.entries(looks.arms)) {
    const pay = nothing ? 0 : t.paid[name][step - 1];
    const row = make("tr"), cell = make("td", { class: "bar" }), bar = make("i");
    bar.style.backgroundColor = colour;
    bar.style.width = `${(50 * Math.abs(pay)) / most}%`;
    bar.style[pay < 0 ? "right" : "left"] = "50%";
    cell.append(bar);
    row.append(make("th", { scope: "row" }, name), cell, make("td", { class: "number" }, nothing ? "" : signed(pay)));
    rows.append(row);
  }
}

function words(t) {
  const k = t.episodes.length, end = last(t), horizon = data.best.length - 1;
  const regret = t.regret[Math.min(step, k + 1)], at = Math.min(step, k);
  const change = step > 0 && step <= k ? t.progress[step - 1] : 0;
  part("J").textContent = plain(t.values[at]);
  part("progress").textContent = step > 0 && step <= k ? signed(change) : "–";
  part("best").textContent = plain(data.best[step > k ? horizon : step]);
  part("regret").textContent = plain(regret);
  let says = `Before any thinking, an answer is right with probability ${plain(t.values[0])}.`;
  if (step > 0 && step <= k) {
    const way = change > 0 ? "rises" : change < 0 ? "falls" : "stays";
    says = `Episode ${step} of ${k}, ${t.tokens[step - 1]} tokens: J ${way} to ${plain(t.values[step])}.`;
  } else if (step > k) {
    const who = t.finished ? "The model ended its thought" : "The budget of tokens cut the thought";
    says = `${who} after ${k} episodes. J stays` +
      (k < horizon ? `, and regret grows up to the horizon of ${horizon} episodes.` : ".");
  }
  part("says").textContent = says;
  const group = data.thoughts.filter((other) => fits(other, ["problem", "model", "seed"]));
  const right = group.filter((other) => other.outcome).length;
  part("outcome").textContent = `The right answer is ${t.gold}. The answer drawn at the end of this thought is ` +
    `${t.outcome ? "right" : "wrong"}; in its group ${right} of ${group.length} are right.`;
  part("previous").disabled = step === 0;
  part("next").disabled = step === end;
  const slider = part("slider");
  slider.max = end;
  slider.value = step;
  slider.setAttribute("aria-valuetext", says);
}

function show(wanted) {
  const t = current();
  step = Math.max(0, Math.min(wanted, last(t)));
  for (const draw of [chart, lines, paid, words]) draw(t);
}

choices();
part("comparator").textContent = data.comparator;
part("previous").addEventListener("click", () => show(step - 1));
part("next").addEventListener("click", () => show(step + 1));
part("slider").addEventListener("input", (event) => show(Number(event.target.value)));
document.addEventListener("keydown", (event) => {
  const inside = root.contains(event.target), typing = ["SELECT", "INPUT"].includes(event.target.tagName);
  const moves = { ArrowLeft: step - 1, ArrowRight: step + 1 };
  if (inside) Object.assign(moves, { Home: 0, End: last(current()) });
  if (!(event.key in moves) || typing || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  show(moves[event.key]);
});
show(0);
