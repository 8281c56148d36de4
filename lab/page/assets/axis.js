// One time axis for all charts: plots with a cursor and a zoom that they share, and marks of phases and actions.
import { el } from "./dom.js";
import { moment } from "./format.js";
import { Surface, palette, rems, timeTicks, stroke } from "./paint.js";

const FIRST_WINDOWS = [15e3, 30e3, 60e3]; // of a live stack that is younger than its window

// UNSETTLED are the newest milliseconds of a live stack: requests planned there are still under way, and count when they are over.
export const UNSETTLED = 750;

export class Axis {
	constructor(store, onCursor) {
		this.store = store;
		this.onCursor = onCursor;
		this.plots = new Set();
		this.cursor = null; // ms, or null
		this.hovered = null; // the plot that the mouse is over
	}

	// range is what all plots show: [from, to] in ms.
	range() {
		const s = this.store;
		if (s.zoom) return s.zoom;
		if (s.window !== null) {
			const end = s.live ? s.now : s.length(s.focus);
			const first = FIRST_WINDOWS.find((w) => w >= end && w < s.window);
			return first ? [0, first] : [Math.max(0, end - s.window), Math.max(end, s.window)];
		}
		return [0, Math.max(1000, ...s.shown.map((n) => s.length(n)))];
	}

	// at is the moment of which the values are shown: that of the cursor, otherwise now.
	at() {
		if (this.cursor !== null) return this.cursor;
		const t = this.store.trial;
		return t ? Math.max(0, this.store.now - (t.info.keep ? UNSETTLED : 0) - t.info.width_ms / 2) : 0;
	}

	setCursor(ms) {
		this.cursor = ms;
		for (const p of this.plots) p.showCursor();
		this.onCursor();
	}

	// showNow moves the lines that mark the moment of a replay: elements, so that no canvas is drawn anew.
	showNow() {
		for (const p of this.plots) p.showNow();
	}
}

const LEAST_DRAG = 5; // pixels that are a zoom and no click

// Plot is one plot over time. Options: y {ends(), ticks(): [value, text], log, lines}, paint(), info(): the Trial whose phases it shades.
export class Plot extends Surface {
	constructor(host, axis, options) {
		const canvas = el("canvas");
		super(canvas);
		this.host = host;
		this.axis = axis;
		this.o = options;
		this.visible = true;
		this.stale = false;
		this.line = el("div.cursor", { hidden: true });
		this.playhead = el("div.playhead", { hidden: true });
		this.drag = el("div.drag", { hidden: true });
		host.append(canvas, this.playhead, this.drag, this.line);
		axis.plots.add(this);
		this.listen();
	}

	listen() {
		const { host, axis } = this;
		host.addEventListener("pointermove", (event) => this.moved(event));
		host.addEventListener("pointerleave", () => this.left());
		host.addEventListener("pointerdown", (event) => {
			if (event.button || !this.box) return;
			this.start = event.offsetX;
			this.moved(event);
		});
		host.addEventListener("pointerup", () => this.dropped());
		host.addEventListener("dblclick", () => axis.store.setZoom(null));
	}

	moved(event) {
		if (!this.box) return;
		this.axis.hovered = this;
		this.mouse = event.offsetX;
		this.axis.setCursor(this.underMouse());
		if (this.start === undefined) return;
		this.drag.hidden = Math.abs(this.mouse - this.start) < LEAST_DRAG;
		this.drag.style.left = Math.min(this.start, this.mouse) + "px";
		this.drag.style.width = Math.abs(this.mouse - this.start) + "px";
	}

	left() {
		this.axis.hovered = null;
		this.start = undefined;
		this.drag.hidden = true;
		this.axis.setCursor(null);
	}

	// dropped zooms to what was dragged over.
	dropped() {
		const from = this.start;
		this.start = undefined;
		this.drag.hidden = true;
		if (from === undefined || Math.abs(this.mouse - from) < LEAST_DRAG) return;
		this.axis.store.setZoom([from, this.mouse].map((x) => this.time(x)).sort((a, b) => a - b));
	}

	// time is the moment at a place in CSS pixels.
	time(offset) {
		const [from, to] = this.range;
		const part = (offset * devicePixelRatio - this.box.left) / this.box.width;
		return from + (to - from) * Math.max(0, Math.min(0.9999, part));
	}

	underMouse() {
		return this.time(this.mouse);
	}

	// draw draws anew, if it can be seen; otherwise when it is.
	draw() {
		this.stale = !this.visible;
		const { y } = this.o;
		if (this.stale || !this.begin(this.axis.range(), y.ends(), y.log)) return;
		this.shade();
		const most = this.box.width / rems(6);
		this.axes(timeTicks(this.range, most, this.dayOffset()).map((ms) => [ms, this.timeLabel(ms)]), y.ticks(), y.lines !== false);
		this.inside(this.o.paint);
		this.showNow();
		this.showCursor();
	}

	// dayOffset lets the times of day of a live stack be round.
	dayOffset() {
		const info = this.o.info();
		return info.experiment ? 0 : Date.parse(info.begin);
	}

	timeLabel(ms) {
		const info = this.o.info();
		return info.experiment ? +(ms / 1000).toFixed(2) + " s" : moment(info, ms);
	}

	shade() {
		this.ctx.fillStyle = palette().sunken;
		this.o.info().phases.forEach((p, i) => {
			const [from, to] = this.clip(this.x(p.from), this.x(p.to));
			if (i % 2 && to > from) this.ctx.fillRect(from, this.box.top, to - from, this.box.height);
		});
	}

	clip(from, to) {
		const { left, width } = this.box;
		return [Math.max(left, from), Math.min(left + width, to)];
	}

	setVisible(visible) {
		this.visible = visible;
		if (visible && this.stale) this.draw();
	}

	destroy() {
		this.axis.plots.delete(this);
		if (this.axis.hovered === this) this.axis.hovered = this.axis.cursor = null;
	}

	showCursor() {
		this.place(this.line, this.axis.cursor);
	}

	// showNow fades what has not happened yet in a replay.
	showNow() {
		const s = this.axis.store;
		this.place(this.playhead, s.live || s.now >= s.newest(s.focus) - 1 ? null : Math.max(s.now, this.range[0]));
	}

	// place puts an element of the plot at a moment; null: nowhere.
	place(element, ms) {
		element.hidden = ms === null || !this.box || ms < this.range[0] || ms > this.range[1];
		if (!element.hidden) element.style.left = this.x(ms) / devicePixelRatio + "px";
	}
}

export function actionsOf(trial) {
	return trial.events.filter((e) => e.kind === "action" && e.action !== "wait");
}

// markActions draws a line where an action began, and a bar below until it ended.
export function markActions(plot, trial) {
	const { ctx } = plot;
	const { top, height } = plot.box;
	const px = devicePixelRatio;
	ctx.fillStyle = ctx.strokeStyle = palette().text;
	ctx.lineWidth = px;
	ctx.setLineDash([4 * px, 3 * px]);
	for (const e of actionsOf(trial)) {
		const x = Math.round(plot.x(e.at)) + 0.5;
		stroke(ctx, x, top, x, top + height);
		if (e.until > e.at) ctx.fillRect(x, top + height - 3 * px, Math.max(px, plot.x(e.until) - x), 3 * px);
	}
	ctx.setLineDash([]);
}
