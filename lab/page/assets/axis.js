// One time axis for all charts: uPlot with the page's colors, marks of phases and actions, a cursor and a zoom that all plots share.
// uPlot has the axes, the cursor and the selection; what is drawn is ours, because stacks, lanes and patterns are not lines.
import { moment } from "./format.js";

const TOKENS = ["surface", "raised", "sunken", "line", "edge", "text", "quiet", "http", "grpc", "streams", "bad", "good", "warn", "bad-tint"];
const theme = { colors: null, patterns: new Map(), rem: 16 };

// palette has the colors of the current theme as the canvas takes them.
export function palette() {
  if (theme.colors) return theme.colors;
  theme.colors = {};
  const probe = document.body.appendChild(document.createElement("i"));
  for (const name of TOKENS) {
    probe.style.color = `var(--${name})`;
    theme.colors[name] = getComputedStyle(probe).color;
  }
  theme.rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  probe.remove();
  return theme.colors;
}

// forgetPalette is for when the theme or the size of the text has changed.
export function forgetPalette() {
  theme.colors = null;
  theme.patterns.clear();
}

// canvasFont is the page's font for a canvas of uPlot, in CSS pixels or, where our own code draws, in those of the canvas.
export function canvasFont(rems, physical = true) {
  return `${Math.round(rems * theme.rem * (physical ? devicePixelRatio : 1))}px system-ui, "Noto Sans", "Liberation Sans", sans-serif`;
}

// hatch is a pattern that tells things apart without color: "solid", "lines", "cross", "dots" or "none".
export function hatch(kind, color, back) {
  const key = kind + color + back;
  if (!theme.patterns.has(key)) theme.patterns.set(key, kind === "solid" ? color : drawHatch(kind, color, back));
  return theme.patterns.get(key);
}

function drawHatch(kind, color, back) {
  const size = Math.round(6 * devicePixelRatio);
  const tile = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const ctx = tile.getContext("2d");
  ctx.fillStyle = back;
  ctx.fillRect(0, 0, size, size);
  ctx.strokeStyle = ctx.fillStyle = color;
  ctx.lineWidth = size / 4;
  ctx.beginPath();
  for (const d of [-size, 0, size]) {
    if (kind === "lines" || kind === "cross") {
      ctx.moveTo(d, size);
      ctx.lineTo(d + size, 0);
    }
    if (kind === "cross") {
      ctx.moveTo(d, 0);
      ctx.lineTo(d + size, size);
    }
  }
  ctx.stroke();
  if (kind === "dots") ctx.fillRect(size / 4, size / 4, size / 2.5, size / 2.5);
  return ctx.createPattern(tile, "repeat");
}

// Axis is the time that all plots of the page share: what they show, and where their cursor is.
export class Axis {
  constructor(store, onCursor) {
    this.store = store;
    this.onCursor = onCursor;
    this.plots = new Set();
    this.cursor = null; // ms, or null
    this.hovered = null; // the plot that the mouse is over
    this.moving = false; // while setCursor moves the plots' own
  }

  // range is what all plots show, [from, to] in ms.
  range() {
    const s = this.store;
    if (s.zoom) return s.zoom;
    if (s.window !== null) {
      const end = Math.max(s.live ? s.now : s.length(s.focus), s.window);
      return [end - s.window, end];
    }
    return [0, Math.max(1000, ...s.shown.map((n) => s.length(n)))];
  }

  // at is the moment of which the values are shown: that of the cursor, otherwise now.
  at() {
    if (this.cursor !== null) return this.cursor;
    const t = this.store.trials.get(this.store.focus);
    return t ? this.store.now - t.info.width_ms / 2 : 0;
  }

  // setCursor moves the cursor of all plots; null takes it away.
  setCursor(ms) {
    if (this.moving) return;
    this.cursor = ms;
    this.moving = true;
    for (const p of this.plots) p.showCursor(ms);
    this.moving = false;
    this.onCursor();
  }

  // follow keeps the cursor under the mouse while data moves below it.
  follow() {
    if (this.hovered) this.setCursor(this.hovered.underMouse());
  }

  // showNow moves the lines that mark the moment of a replay: elements, so that no canvas is drawn anew.
  showNow() {
    for (const p of this.plots) p.showNow();
  }
}

const GUTTER = 4.2; // rem: the same in all plots, so that their times lie below each other
const NARROW_GUTTER = 3;

// Plot is one plot over time. Options: height (rem), y: {range(), ticks(min, max), label(v), log}, paint(plot, ctx), info(): the Trial message
// that its marks come from, marks (bool): shade phases and mark actions.
export class Plot {
  constructor(host, axis, options) {
    this.host = host;
    this.axis = axis;
    this.o = options;
    this.data = [new Float64Array([0, 1]), new Float64Array([0, 0])];
    this.visible = true;
    this.stale = false;
    this.build();
  }

  build() {
    palette();
    this.width = this.host.clientWidth;
    this.u = new uPlot(this.options(), this.data, this.host);
    this.playhead = document.createElement("div");
    this.playhead.className = "playhead";
    this.u.over.append(this.playhead);
    this.u.over.addEventListener("mouseleave", () => this.leave());
    this.axis.plots.add(this);
  }

  options() {
    const { y, height } = this.o;
    const rem = theme.rem;
    const c = palette();
    const gutter = (this.width < 30 * rem ? NARROW_GUTTER : GUTTER) * rem;
    const grid = { stroke: c.line, width: 1 };
    const font = canvasFont(0.75, false);
    return {
      width: Math.max(50, this.width), height: height * rem, padding: [0.4 * rem, 0.75 * rem, 0, 0], legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false } },
      scales: {
        x: { time: false, range: () => this.axis.range() },
        y: { distr: y.log ? 3 : 1, range: () => y.range() },
      },
      series: [{}, { paths: () => null, points: { show: false } }],
      axes: [
        { stroke: c.quiet, grid, ticks: { ...grid, size: 4 }, font, size: 1.5 * rem, gap: 3, space: 5.5 * rem, incrs: INCRS, values: (_, v) => v.map((ms) => this.timeLabel(ms)) },
        { stroke: c.quiet, grid: y.grid === false ? { show: false } : grid, ticks: { show: false }, font, size: gutter, gap: 5, splits: (_, __, min, max) => y.ticks(min, max), filter: (_, s) => s, values: (_, v) => v.map((x) => y.label(x)) },
      ],
      hooks: {
        drawClear: [(u) => this.under(u)],
        draw: [(u) => this.over(u)],
        setCursor: [(u) => this.moved(u)],
        setSelect: [(u) => this.selected(u)],
      },
    };
  }

  timeLabel(ms) {
    const info = this.o.info();
    if (!info || info.length_ms || info.experiment) return +(ms / 1000).toFixed(2) + " s";
    return moment(info, ms);
  }

  // under shades every second phase.
  under(u) {
    const info = this.o.info();
    if (!info?.phases.length) return;
    u.ctx.save(); // uPlot remembers what it has set.
    u.ctx.fillStyle = palette().sunken;
    info.phases.forEach((p, i) => {
      if (i % 2) return;
      const [from, to] = this.clip(u.valToPos(p.from, "x", true), u.valToPos(p.to, "x", true));
      if (to > from) u.ctx.fillRect(from, u.bbox.top, to - from, u.bbox.height);
    });
    u.ctx.restore();
  }

  // clip keeps two positions inside the plot.
  clip(from, to) {
    const { left, width } = this.u.bbox;
    return [Math.max(left, from), Math.min(left + width, to)];
  }

  over(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    this.o.paint(this, ctx);
    ctx.restore();
    this.showNow();
  }

  // x and y are positions in the canvas.
  x(ms) {
    return this.u.valToPos(ms, "x", true);
  }

  y(value) {
    return this.u.valToPos(value, "y", true);
  }

  // draw draws anew, if it can be seen; otherwise when it is.
  draw() {
    if (!this.visible) {
      this.stale = true;
      return;
    }
    this.stale = false;
    this.u.setData(this.data);
  }

  setVisible(visible) {
    this.visible = visible;
    if (visible && this.stale) this.draw();
  }

  fit() {
    const width = this.host.clientWidth;
    if (!width || width === this.width) return;
    this.destroy();
    this.build();
    this.draw();
  }

  destroy() {
    this.axis.plots.delete(this);
    if (this.axis.hovered === this) this.axis.hovered = null;
    this.u.destroy();
  }

  moved(u) {
    if (this.axis.moving || u.cursor.left < 0 || !u.cursor.event) return;
    this.axis.hovered = this;
    this.axis.setCursor(u.posToVal(u.cursor.left, "x"));
  }

  leave() {
    this.axis.hovered = null;
    this.axis.setCursor(null);
  }

  underMouse() {
    return this.u.posToVal(this.u.cursor.left, "x");
  }

  showCursor(ms) {
    this.u.setCursor(ms === null ? { left: -10, top: -10 } : { left: this.u.valToPos(ms, "x"), top: 0 }, false);
  }

  // selected zooms to what was dragged over.
  selected(u) {
    if (u.select.width < 5) return;
    const range = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.axis.store.setZoom(range);
  }

  // showNow fades what has not happened yet in a replay.
  showNow() {
    const s = this.axis.store;
    const width = this.u.bbox.width / devicePixelRatio;
    const left = this.u.valToPos(s.now, "x");
    const shown = !s.live && left < width - 1;
    this.playhead.hidden = !shown;
    if (shown) this.playhead.style.left = Math.max(0, left) + "px";
  }
}

const INCRS = [1, 2, 5, 10, 20, 50, 100, 200, 250, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 864e5];

// niceTicks are round values from 0 to max.
export function niceTicks(max, wanted = 4) {
  const raw = max / wanted;
  const ten = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * ten).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let v = 0; v <= max * 1.0001; v += step) ticks.push(v);
  return ticks;
}

// logTicks are 1, 2 and 5 times the powers of ten between min and max; of many only the powers.
export function logTicks(min, max) {
  const steps = max / min > 2000 ? [1] : max / min > 100 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let ten = Math.pow(10, Math.floor(Math.log10(min))); ten <= max; ten *= 10) {
    for (const s of steps) if (s * ten >= min && s * ten <= max) ticks.push(s * ten);
  }
  return ticks;
}

// actionsOf are the actions of a trial with times in ms: those that its event log has.
export function actionsOf(trial) {
  return trial.events.filter((e) => e.kind === "action" && e.action !== "wait");
}

// markActions draws a line where an action began, and a bar below until it ended.
export function markActions(plot, ctx, trial) {
  const { top, height } = plot.u.bbox;
  const px = devicePixelRatio;
  ctx.fillStyle = ctx.strokeStyle = palette().text;
  ctx.lineWidth = px;
  for (const e of actionsOf(trial)) {
    const x = Math.round(plot.x(e.at)) + 0.5;
    ctx.setLineDash([4 * px, 3 * px]);
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    ctx.setLineDash([]);
    if (e.until > e.at) ctx.fillRect(x, top + height - 3 * px, Math.max(px, plot.x(e.until) - x), 3 * px);
  }
}
