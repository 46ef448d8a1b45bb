// The report's script: curves that can be explored, tables that sort and filter, and every run.
// It draws the data that stand in the page (benchmark/analysis/explorer.py) and loads nothing.
"use strict";

let data; // see unpacked
const NAMES = { win_rate: "test win rate", return: "test return" };
const [WIDTH, HEIGHT] = [360, 230]; // of a plot, in its own units
const [LEFT, RIGHT, TOP, BOTTOM] = [38, 16, 8, 34]; // margins
const MARKS = 6; // markers along a curve

// Elements -----------------------------------------------------------------------------------------

function add(parent, name, attributes = {}, text) {
  const svg = name === "svg" || parent.namespaceURI.endsWith("svg");
  const made = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return parent.appendChild(made);
}

const whole = (number) => Math.round(number).toLocaleString("en-US");
const digits = (value) => value.toFixed(2).replace(/^-(0\.00)$/, "$1"); // no -0.00

// Curves -------------------------------------------------------------------------------------------

// Mean of the last `window` values at every point; null where there is no value.
function smooth(values, window) {
  if (window < 2) return values;
  return values.map((value, index) => {
    const part = values.slice(Math.max(0, index - window + 1), index + 1).filter((v) => v !== null);
    return value === null ? null : part.reduce((sum, v) => sum + v, 0) / part.length;
  });
}

// Whole numbers of the page as values of a metric.
const unscaled = (values, metric) => values.map((v) => (v === null ? null : v / data.scale[metric]));

// One method on one map: {steps, value, low, high, n, seeds}; null where it has no run.
function curve(map, method, metric, window, withSeeds) {
  const found = data.curves[`${map}/${method}`];
  if (!found) return null;
  const [value, low, high] = found[metric].map((v) => smooth(unscaled(v, metric), window));
  const runs = withSeeds ? data.runs.filter((run) => run.cell === `${map}/${method}`) : [];
  const seeds = runs.map((run) => ({
    seed: run.seed,
    steps: data.grids[run.grid],
    value: smooth(unscaled(run[metric], metric), window),
  }));
  return { steps: data.grids[found.grid], value, low, high, n: found.n, seeds };
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

// The range of a metric over some curves.
function range(curves, metric) {
  if (metric === "win_rate") return [0, 1];
  const values = curves.flatMap((c) => [...c.low, ...c.high, ...c.value, ...c.seeds.flatMap((s) => s.value)]);
  const known = values.filter((value) => value !== null);
  const [low, high] = [Math.min(0, ...known), Math.max(1, ...known)];
  return [low, high + (high - low) * 0.03];
}

// Draws curves into a box, with a reader for pointer and keyboard.
// series: [{name, style, marker, curve}], the first one on top.
function plot(box, title, metric, series, [low, high], showBand) {
  box.querySelector(".plot")?.remove();
  const holder = add(box, "div", { class: "plot" });
  const last = Math.max(1, ...series.map((s) => s.curve.steps.at(-1)));
  const [unit, unitName] = last >= 1e6 ? [1e6, "millions"] : [1e3, "thousands"];
  const x = (step) => LEFT + (step / last) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const svg = add(holder, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "slider" });

  for (const value of ticks(low, high, 4)) {
    add(svg, "line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) });
    add(svg, "text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, `${+value.toFixed(6)}`);
  }
  const steps = ticks(0, last, 4).filter((step) => last - step > last / 9).concat(last);
  for (const step of steps) {
    add(svg, "line", { class: "grid", x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM });
    const text = `${+(step / unit).toFixed(3)}`;
    add(svg, "text", { x: x(step), y: HEIGHT - BOTTOM + 14, "text-anchor": "middle" }, text);
  }
  const middle = (TOP + HEIGHT - BOTTOM) / 2;
  const below = { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" };
  add(svg, "text", below, `env steps (${unitName})`);
  add(svg, "text", { transform: `translate(9 ${middle}) rotate(-90)`, "text-anchor": "middle" }, NAMES[metric]);

  const line = (points, values) =>
    values.map((v, i) => (v === null ? "" : `${i && values[i - 1] !== null ? "L" : "M"}${x(points[i]).toFixed(1)} ${y(v).toFixed(1)}`)).join("");
  for (const { style, marker, curve, offset } of [...series].reverse()) {
    const group = add(svg, "g", { class: "series", style });
    const banded = curve.steps.map((_, i) => i).filter((i) => curve.low[i] !== null);
    if (showBand && banded.length) {
      const at = (bound) => (i) => `${x(curve.steps[i]).toFixed(1)} ${y(bound[i]).toFixed(1)}`;
      const around = [...banded.map(at(curve.low)), ...banded.reverse().map(at(curve.high))];
      add(group, "path", { class: "band", d: `M${around.join("L")}Z` });
    }
    for (const seed of curve.seeds) add(group, "path", { class: "seed", d: line(seed.steps, seed.value) });
    add(group, "path", { class: "line", d: line(curve.steps, curve.value) });
    const every = Math.max(1, Math.floor(curve.steps.length / MARKS));
    for (let i = Math.floor(every * offset); i < curve.steps.length; i += every) {
      if (curve.value[i] === null) continue;
      add(group, "path", { class: "mark", d: marker, transform: `translate(${x(curve.steps[i])} ${y(curve.value[i])}) scale(3.2)` });
    }
  }
  read(holder, svg, title, metric, series, last, x, y);
}

// The reader: a line at one step, and the values of all curves there.
function read(holder, svg, title, metric, series, last, x, y) {
  const steps = [...new Set(series.flatMap((s) => s.curve.steps))].sort((a, b) => a - b);
  const cursor = add(svg, "g", { class: "cursor" });
  const box = add(holder, "div", { class: "readout", "aria-hidden": "true" });
  let index = steps.length - 1;

  const at = (step) =>
    series
      .map((s) => ({ ...s, i: s.curve.steps.indexOf(step) }))
      .filter((s) => s.i >= 0 && s.curve.value[s.i] !== null)
      .sort((a, b) => b.curve.value[b.i] - a.curve.value[a.i]);
  const interval = ({ curve, i }) =>
    curve.low[i] === null ? "" : ` [${digits(curve.low[i])}, ${digits(curve.high[i])}]`;
  const runs = ({ curve, i }) => (Array.isArray(curve.n) ? curve.n[i] : curve.n);

  svg.setAttribute("aria-label", `${title}, ${NAMES[metric]} over env steps`);
  svg.setAttribute("aria-valuemin", 0);
  svg.setAttribute("aria-valuemax", last);
  function tell() {
    const found = at(steps[index]).map((s) => `${s.name} ${digits(s.curve.value[s.i])}${interval(s)}`);
    svg.setAttribute("aria-valuenow", steps[index] ?? 0);
    svg.setAttribute("aria-valuetext", `at ${whole(steps[index] ?? 0)} env steps: ${found.join(", ") || "no curve"}`);
  }
  function show(to) {
    if (!steps.length) return;
    index = Math.max(0, Math.min(steps.length - 1, to));
    const step = steps[index];
    cursor.replaceChildren();
    box.replaceChildren();
    add(cursor, "line", { x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM });
    const table = add(box, "table");
    add(table, "caption", {}, `${whole(step)} env steps`);
    for (const s of at(step)) {
      add(cursor, "circle", { class: "series", style: s.style, cx: x(step), cy: y(s.curve.value[s.i]), r: 3 });
      const row = add(table, "tr");
      add(add(row, "th"), "span", { class: "swatch", style: s.style });
      row.firstChild.append(s.name);
      add(row, "td", {}, digits(s.curve.value[s.i]));
      add(row, "td", {}, interval(s));
      add(row, "td", {}, `n = ${runs(s)}`);
    }
    box.classList.add("open");
    tell();
  }
  function hide() {
    cursor.replaceChildren();
    box.classList.remove("open");
  }
  tell();
  svg.addEventListener("pointermove", (event) => {
    const area = svg.getBoundingClientRect();
    const step = (((event.clientX - area.left) / area.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * last;
    const distances = steps.map((known) => Math.abs(known - step));
    show(distances.indexOf(Math.min(...distances)));
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("focus", () => svg.matches(":focus-visible") && show(index));
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") hide();
    else if (event.key in moves) show(index + moves[event.key]);
    else return;
    event.preventDefault();
  });
}

// A group of plots, one per map, with its controls.
function explorer(group) {
  const control = (name) => group.querySelector(`[name=${name}]`);
  function draw() {
    const metric = control("metric").value;
    const window = Number(control("window").value);
    const drawn = [...group.querySelectorAll("[data-map]")].map((box) => {
      const shown = [...group.querySelectorAll("[data-method]:checked")].map((input, place) => ({
        name: input.parentElement.textContent.trim(),
        style: input.parentElement.getAttribute("style"),
        marker: input.dataset.marker,
        offset: ((place * 3) % 10) / 10, // markers of different methods do not coincide
        curve: curve(box.dataset.map, input.dataset.method, metric, window, control("seeds").checked),
      }));
      return [box, shown.filter((s) => s.curve)];
    });
    const common = range(drawn.flatMap(([, shown]) => shown.map((s) => s.curve)), metric);
    for (const [box, shown] of drawn) plot(box, box.dataset.map, metric, shown, common, control("band").checked);
  }
  group.addEventListener("change", draw);
  group.querySelector("[data-all]").addEventListener("click", () => {
    const inputs = [...group.querySelectorAll("[data-method]")];
    const on = !inputs.every((input) => input.checked);
    for (const input of inputs) input.checked = on;
    draw();
  });
  group.querySelector("[data-csv]").addEventListener("click", () => {
    const rows = [["map", "method", "seed", "step", "win_rate", "return"]];
    for (const box of group.querySelectorAll("[data-map]"))
      for (const input of group.querySelectorAll("[data-method]:checked"))
        for (const run of data.runs.filter((r) => r.cell === `${box.dataset.map}/${input.dataset.method}`))
          data.grids[run.grid].forEach((step, i) =>
            rows.push([box.dataset.map, input.dataset.method, run.seed, step, ...Object.keys(NAMES).map((m) => run[m][i] / data.scale[m])]));
    save("curves.csv", rows.map((row) => row.join(",")).join("\n") + "\n");
  });
  draw();
}

function save(name, text) {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.click();
  URL.revokeObjectURL(link.href);
}

// Tables -------------------------------------------------------------------------------------------

// What a cell sorts by: its leading number, else its text; nothing sorts last.
function key(cell) {
  const text = (cell?.dataset.value ?? cell?.textContent ?? "").trim();
  const number = Number.parseFloat(text.replace(/,/g, ""));
  if (text === "" || text === "\u2013") return [2, ""];
  return Number.isNaN(number) || !/^[-+]?[\d.,]+(\s|\[|$)/.test(text) ? [1, text.toLowerCase()] : [0, number];
}

function compare(a, b) {
  for (let i = 0; i < 2; i++) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return 0;
}

function sortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  if (rows.length < 2) return;
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      close(table);
      const keys = new Map(rows.map((row) => [row, key(row.cells[column])]));
      const sorted = [...rows].sort((a, b) => {
        const order = compare(keys.get(a), keys.get(b));
        return down && keys.get(a)[0] === keys.get(b)[0] ? -order : order;
      });
      body.append(...sorted);
    });
  });
  if (rows.length < 8) return;
  const label = document.createElement("label");
  label.className = "filter";
  const input = add(label, "input", { type: "search", placeholder: "words that rows must have" });
  label.prepend("Filter ");
  const count = add(label, "output");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  input.addEventListener("input", () => {
    close(table);
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every((word) => texts.get(row).includes(word));
    const left = rows.filter((row) => !row.hidden).length;
    count.textContent = left < rows.length ? `${left} of ${rows.length} rows` : "";
  });
  table.closest(".scroll").before(label);
}

// Runs ---------------------------------------------------------------------------------------------

function close(table) {
  for (const row of table.querySelectorAll(".run")) row.remove();
  for (const button of table.querySelectorAll("[aria-expanded=true]")) {
    button.setAttribute("aria-expanded", false);
    button.textContent = "show";
  }
}

function details(into, title, pairs) {
  const part = add(into, "section");
  add(part, "h4", {}, title);
  const list = add(part, "dl");
  for (const [name, value] of pairs) {
    add(list, "dt", {}, name);
    add(list, "dd", {}, words(value));
  }
}

// A value of a record in words.
function words(value) {
  if (Array.isArray(value)) return value.map(words).join("; ");
  if (typeof value !== "object" || value === null) return String(value);
  return Object.entries(value).map(([name, part]) => `${name} ${words(part)}`).join(", ");
}

function showRun(cell, run) {
  const plots = add(cell, "div", { class: "panels" });
  const mark = "M0 0Z";
  for (const metric of Object.keys(NAMES)) {
    const value = unscaled(run[metric], metric);
    const none = value.map(() => null);
    const shown = { steps: data.grids[run.grid], value, low: none, high: none, n: 1, seeds: [] };
    const box = add(plots, "figure");
    plot(box, `${run.cell}, seed ${run.seed}`, metric, [{ name: NAMES[metric], style: "", marker: mark, offset: 0, curve: shown }], range([shown], metric), false);
  }
  const parts = add(cell, "div", { class: "parts" });
  const settings = data.settings[run.settings];
  for (const [part, values] of Object.entries(settings)) details(parts, part, Object.entries(values));
  details(parts, "provenance", Object.entries({ ...data.provenance[run.provenance], ...run.about }));
  const log = add(cell, "section");
  add(log, "h4", {}, run.log ? "last lines of the log" : "log: not there when this report was made");
  if (run.log) add(log, "pre", { tabindex: 0 }, run.log);
  const where = add(cell, "p", {}, "Files of the run, where the report lies in the study's folder: ");
  for (const name of ["run.json", "evaluations.parquet", "train.log", "policy.pt"]) {
    add(where, "a", { href: `${run.folder}/${name}` }, name);
    where.append(" ");
  }
  add(where, "code", {}, run.folder);
}

function runs(table) {
  for (const button of table.querySelectorAll("[data-run]"))
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      const row = button.closest("tr");
      if (open) row.nextElementSibling.remove();
      else {
        const below = document.createElement("tr");
        below.className = "run";
        row.after(below);
        const cell = add(below, "td", { colspan: row.cells.length });
        showRun(add(cell, "div", { class: "inside" }), data.runs[button.dataset.run]);
      }
      button.setAttribute("aria-expanded", !open);
      button.textContent = open ? "show" : "hide";
    });
}

// The page -----------------------------------------------------------------------------------------

// JSON from gzip in base64.
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

async function start() {
  data = await unpacked(document.getElementById("data").textContent);
  document.documentElement.classList.add("script");
  for (const group of document.querySelectorAll(".explorer")) explorer(group);
  for (const table of document.querySelectorAll("table[data-sort]")) sortable(table);
  runs(document.getElementById("runs"));
  document.documentElement.dataset.ready = Math.round(performance.now()); // ms since the page opened
}

start();
