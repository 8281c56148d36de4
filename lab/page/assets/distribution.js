// The distribution of latencies in what the charts show: a histogram per flow, on one logarithmic scale.
import { sumFlow, percentile, bucketMiddle } from "./store.js";
import { el, setText } from "./dom.js";
import { palette, hatch, canvasFont, logTicks, niceTicks } from "./axis.js";
import { blend } from "./panels.js";
import { micros, microsBrief, number, percent, moment } from "./format.js";

const JOIN = 8; // buckets that one bar joins: 17 % wide
const PERCENTS = [["p50", 0.5, 2], ["p90", 0.9, 10], ["p99", 0.99, 100]];

// Distribution is a panel of its own: its axis is not time.
export class Distribution {
  constructor(store, axis) {
    this.store = store;
    this.axis = axis;
    this.cells = [];
    this.low = 0;
    this.high = 100;
    this.top = 1;
  }

  build(body, trials, flows, caption) {
    this.span = el("span", { class: "quiet small" });
    const grid = el("div", { class: "plots", "data-columns": flows.length });
    for (const trial of trials) for (const flow of flows) this.cells.push(this.cell(trial, flow, caption, grid));
    const legend = el("ul", { class: "legend" }, el("li", {}, el("i", { class: "mark-ok", "aria-hidden": "true" }), "OK requests"), el("li", {}, el("i", { class: "mark-incomplete", "aria-hidden": "true" }), "failed requests"));
    const head = el("div", { class: "panel-head" }, el("h3", { text: "Distribution of latency" }), this.span, legend);
    body.append(el("section", { class: "panel", "data-panel": "distribution", "aria-label": "Distribution of latency" }, head, grid));
  }

  cell(trial, flow, caption, grid) {
    const readout = el("p", { class: "readout" });
    const canvas = el("canvas", { class: "histogram", role: "img" });
    const cell = { trial, flow, readout, canvas, sum: null };
    grid.append(el("div", { class: "cell", "data-flow": flow }, el("div", { class: "cell-head" }, caption(trial, flow), readout), canvas));
    canvas.addEventListener("mousemove", (event) => this.hover(cell, event.offsetX));
    canvas.addEventListener("mouseleave", () => this.summary(cell));
    return cell;
  }

  clear() {
    this.cells = [];
  }

  // update sums what the charts show.
  update() {
    if (!this.cells.length) return;
    const [from, to] = this.axis.range();
    setText(this.span, `from ${moment(this.cells[0].trial.info, Math.max(0, from))} to ${moment(this.cells[0].trial.info, to)}, as the charts above show; a bar is 17 % wide`);
    for (const c of this.cells) {
      c.sum = sumFlow(c.trial, c.flow, from, to);
      c.ok = joined(c.sum.latency);
      c.bad = joined(c.sum.failed_latency);
    }
    this.scale();
    this.fit();
    for (const c of this.cells) this.summary(c);
  }

  // scale gives all histograms the same axes.
  scale() {
    const bars = this.cells.flatMap((c) => [...c.ok.keys(), ...c.bad.keys()]);
    this.low = bars.length ? Math.min(...bars) - 1 : 40;
    this.high = bars.length ? Math.max(...bars) + 2 : 80;
    this.top = Math.max(0.01, ...this.cells.map((c) => Math.max(0, ...[...c.ok].map(([b, n]) => (n + (c.bad.get(b) ?? 0)) / samples(c)), ...[...c.bad.values()].map((n) => n / samples(c)))));
  }

  fit() {
    for (const c of this.cells) this.draw(c);
  }

  draw(c) {
    const px = devicePixelRatio;
    const { clientWidth, clientHeight } = c.canvas;
    if (!clientWidth || !c.sum) return;
    if (c.canvas.width !== Math.round(clientWidth * px)) c.canvas.width = Math.round(clientWidth * px);
    if (c.canvas.height !== Math.round(clientHeight * px)) c.canvas.height = Math.round(clientHeight * px);
    const ctx = c.canvas.getContext("2d");
    ctx.clearRect(0, 0, c.canvas.width, c.canvas.height);
    c.box = { left: 4.2 * rem() * px, right: c.canvas.width - 1.5 * rem() * px, top: 0.5 * rem() * px, bottom: c.canvas.height - 1.5 * rem() * px };
    if (clientWidth < 30 * rem()) c.box.left = 3 * rem() * px;
    this.drawAxes(ctx, c);
    for (const b of new Set([...c.ok.keys(), ...c.bad.keys()])) this.drawBar(ctx, c, b);
    this.drawPercentiles(ctx, c);
  }

  x(c, bar) {
    return c.box.left + ((bar - this.low) / (this.high - this.low)) * (c.box.right - c.box.left);
  }

  y(c, part) {
    return c.box.bottom - (part / (this.top * 1.15)) * (c.box.bottom - c.box.top);
  }

  drawAxes(ctx, c) {
    const px = devicePixelRatio;
    const colors = palette();
    ctx.font = canvasFont(0.75);
    ctx.fillStyle = colors.quiet;
    ctx.strokeStyle = colors.line;
    ctx.lineWidth = px;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    const wide = (c.box.right - c.box.left) / (5 * rem() * px);
    let ticks = logTicks(barTime(this.low), barTime(this.high));
    while (ticks.length > wide) ticks = ticks.filter((_, i) => i % 2 === 0);
    for (const us of ticks) {
      const at = Math.round(this.x(c, Math.log(us) / Math.log(1.02) / JOIN)) + 0.5;
      stroke(ctx, at, c.box.top, at, c.box.bottom);
      ctx.fillText(microsBrief(us), at, c.box.bottom + 4 * px);
    }
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    for (const part of niceTicks(this.top, 3)) {
      const at = Math.round(this.y(c, part)) + 0.5;
      stroke(ctx, c.box.left, at, c.box.right, at);
      ctx.fillText(percent(part), c.box.left - 5 * px, at);
    }
  }

  drawBar(ctx, c, bar) {
    const colors = palette();
    const all = samples(c);
    const ok = (c.ok.get(bar) ?? 0) / all;
    const bad = (c.bad.get(bar) ?? 0) / all;
    const left = this.x(c, bar) + devicePixelRatio / 2;
    const wide = this.x(c, bar + 1) - left - devicePixelRatio / 2;
    const tall = (part) => (part ? Math.max(2 * devicePixelRatio, c.box.bottom - this.y(c, part)) : 0);
    ctx.fillStyle = blend(colors[c.flow], 0.55);
    ctx.fillRect(left, c.box.bottom - tall(ok), wide, tall(ok));
    ctx.fillStyle = hatch("cross", colors.bad, colors.raised);
    ctx.fillRect(left, c.box.bottom - tall(ok) - tall(bad), wide, tall(bad));
  }

  drawPercentiles(ctx, c) {
    const px = devicePixelRatio;
    ctx.textAlign = "left";
    ctx.textBaseline = "top";
    let after = -Infinity;
    let row = 0;
    for (const [name, us] of percentiles(c)) {
      const at = this.x(c, Math.log(us) / Math.log(1.02) / JOIN);
      ctx.strokeStyle = ctx.fillStyle = palette().text;
      stroke(ctx, at, c.box.top, at, c.box.bottom);
      row = at < after ? row + 1 : 0;
      const y = c.box.top + row * 0.85 * rem() * px;
      ctx.lineWidth = 3 * px;
      ctx.strokeStyle = palette().raised;
      ctx.strokeText(name, at + 3 * px, y);
      ctx.lineWidth = px;
      ctx.fillText(name, at + 3 * px, y);
      after = at + ctx.measureText(name).width + 8 * px;
    }
  }

  // summary says what the histogram says.
  summary(c) {
    if (!c.sum) return;
    const parts = percentiles(c).map(([name, us]) => `${name} ${micros(us)}`);
    const text = [`${number(c.sum.ok)} OK`, ...parts, c.sum.failed ? `${number(c.sum.failed)} failed` : "0 failed"].join(" · ");
    setText(c.readout, text);
    c.canvas.setAttribute("aria-label", `Distribution of latency: ${text}`);
  }

  hover(c, offset) {
    if (!c.box) return;
    const at = offset * devicePixelRatio;
    const bar = Math.floor(this.low + ((at - c.box.left) / (c.box.right - c.box.left)) * (this.high - this.low));
    if (at < c.box.left || at > c.box.right) return this.summary(c);
    setText(c.readout, `${micros(barTime(bar))} to ${micros(barTime(bar + 1))}: ${number(c.ok.get(bar) ?? 0)} OK, ${number(c.bad.get(bar) ?? 0)} failed`);
  }
}

function rem() {
  return parseFloat(getComputedStyle(document.documentElement).fontSize);
}

function stroke(ctx, x1, y1, x2, y2) {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

// barTime is the time in µs at which a bar begins.
function barTime(bar) {
  return Math.pow(1.02, bar * JOIN);
}

// joined are the counts of a histogram by bar. Bucket b ends at 1.02^b.
function joined(histogram) {
  const bars = new Map();
  for (let i = 0; i < histogram.length; i += 2) {
    const bar = Math.floor(Math.log(bucketMiddle(histogram[i])) / Math.log(1.02) / JOIN);
    bars.set(bar, (bars.get(bar) ?? 0) + histogram[i + 1]);
  }
  return bars;
}

function samples(c) {
  return Math.max(1, c.sum.requests - c.sum.dropped);
}

// percentiles are those of OK requests that have enough samples.
function percentiles(c) {
  return PERCENTS.filter(([, , needed]) => c.sum.ok >= needed).map(([name, q]) => [name, percentile(c.sum.latency, q)]).filter(([, us]) => us !== null);
}
