"use strict";
// The page is readable without this; here the figure is drawn, tooltips are shown, commands are copied.

// --- the figure

/** A copy of `thing` in which every "@name" is the page's colour of that name just now. */
function coloured(thing, style) {
  if (typeof thing === "string") return thing.startsWith("@") ? style.getPropertyValue("--" + thing.slice(1)).trim() : thing;
  if (Array.isArray(thing)) return typeof thing[0] === "number" ? thing : thing.map(one => coloured(one, style));
  if (thing === null || typeof thing !== "object") return thing;
  return Object.fromEntries(Object.entries(thing).map(([name, one]) => [name, coloured(one, style)]));
}

/** plotly.js is in the page compressed: a third of its size. */
async function loadPlotly() {
  const text = atob(document.getElementById("plotly").textContent), packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
}

class Chart {
  constructor(place, data) {
    this.place = place;
    this.figure = data.figure;
    this.choices = data.choices;
    this.chosen = "";
    // What the rows of all operations together hold, for coming back to it.
    this.whole = this.figure.data.map(trace => ({ ...trace, marker: { ...trace.marker } }));
    // Marks that stand for many are larger, by area.
    for (const trace of this.figure.data) if (trace.meta?.points) trace.marker.size = sizes(trace.customdata, trace.marker.size);
    for (const [i, trace] of this.figure.data.entries()) this.whole[i].marker = { ...trace.marker };
  }

  draw(width) {
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = coloured(this.figure, style);
    if (width) layout.width = width;
    // A finger that means to scroll the page must not be taken for a zoom.
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
    const range = this.place.layout?.xaxis?.range;
    if (range) layout.xaxis.range = range.slice();
    const settings = { responsive: !width, displaylogo: false, displayModeBar: false, doubleClick: "reset" };
    return Plotly.react(this.place, data, layout, settings);
  }

  /** Shows one operation alone in the rows of throughput and latency; "" shows all. */
  choose(name) {
    this.chosen = name;
    const choice = this.choices[name];
    this.figure.data = this.figure.data.map((trace, i) => {
      const whole = this.whole[i], meta = trace.meta ?? {};
      if (meta.rate) return { ...trace, y: choice ? choice.rate[meta.rate] : whole.y };
      if (meta.quantile) return { ...trace, visible: Boolean(choice), y: choice ? choice[meta.quantile] : [] };
      if (!meta.points) return trace;
      if (!choice) return { ...trace, x: whole.x, y: whole.y, text: whole.text, customdata: whole.customdata, marker: whole.marker };
      const { x = [], y = [], n = [], text = [] } = choice.points[meta.points] ?? {};
      const least = meta.points === "ok" ? 4 : 7;
      return { ...trace, x, y, text, customdata: n, marker: { ...whole.marker, size: sizes(n, least) } };
    });
    return this.draw();
  }
}

function sizes(numbers, least) {
  return numbers.map(n => Math.min(14, least + 2.5 * Math.log10(n)));
}

function chips(chart) {
  const place = document.querySelector(".chips");
  const names = Object.keys(chart.choices);
  if (names.length < 2) return;
  const buttons = ["", ...names].map(name => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name || "all operations";
    button.setAttribute("aria-pressed", String(name === ""));
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      chart.choose(name);
    });
    return button;
  });
  place.append(...buttons);
}

async function drawFigure() {
  const place = document.getElementById("figure");
  if (!place) return;
  const chart = new Chart(place, JSON.parse(document.getElementById("data").textContent));
  await loadPlotly();
  place.textContent = "";
  place.classList.remove("waiting");
  await chart.draw();
  chips(chart);
  place.dataset.drawn = "yes";
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.draw());
  // Paper is light and narrower than the screen.
  addEventListener("beforeprint", () => { document.documentElement.dataset.printing = ""; chart.draw(700); });
  addEventListener("afterprint", () => { delete document.documentElement.dataset.printing; chart.draw(); });
}

// --- tooltips of the timelines: <title> says it to screen readers and without scripts; here it comes at once, and on tap

function tooltips() {
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  for (const title of document.querySelectorAll(".lanes title")) {
    const marked = title.parentNode, words = title.textContent;
    const show = (x, y) => {
      tip.textContent = words;
      tip.hidden = false;
      tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 4)) + "px";
      tip.style.top = (y + 18 + tip.offsetHeight > innerHeight ? Math.max(4, y - tip.offsetHeight - 10) : y + 18) + "px";
    };
    title.remove();
    marked.setAttribute("aria-label", words);
    for (const kind of ["pointerenter", "pointermove"]) marked.addEventListener(kind, event => show(event.clientX, event.clientY));
    marked.addEventListener("pointerleave", hide);
    marked.addEventListener("focus", () => { const box = marked.getBoundingClientRect(); show(box.left, box.bottom - 14); });
    marked.addEventListener("blur", hide);
  }
  // Not on scroll: the keyboard's focus scrolls too, to what it then tells of.
  for (const kind of ["wheel", "touchmove"]) addEventListener(kind, hide, { passive: true });
}

// --- commands

function copying() {
  for (const button of document.querySelectorAll(".copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentNode.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch {
        // A page from a file may not be let near the clipboard: select the command instead.
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }
}

tooltips();
copying();
drawFigure();
