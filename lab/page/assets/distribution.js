// The distribution of latencies in what the charts show: a histogram per flow, on one logarithmic scale.
import { sumFlow, percentile, bucketMiddle } from "./store.js";
import { PERCENTILES, alike } from "./columns.js";
import { chartPanel, el, plotCell, setText } from "./dom.js";
import { Surface, palette, hatch, blend, rems, logTicks, niceTicks, outlined, stroke } from "./paint.js";
import { FLOW_NAMES, micros, microsBrief, number, percent, moment } from "./format.js";

const JOIN = 8; // buckets that one bar joins: 17 % wide

// Distribution is a panel of its own: its axis is not time.
export class Distribution {
	constructor(store, axis) {
		this.store = store;
		this.axis = axis;
		this.cells = [];
		this.low = 0;
		this.high = 100;
	}

	build(body, trials, flows, caption) {
		this.span = el("span.quiet.small");
		const grid = el("div.plots", { "data-columns": flows.length });
		for (const trial of trials) for (const flow of flows) this.cells.push(this.cell(trial, flow, caption, grid));
		body.append(chartPanel("distribution", "Distribution of latency", this.span, [["mark-ok", "OK requests"], ["mark-incomplete", "failed requests"]], grid));
	}

	cell(trial, flow, caption, grid) {
		const readout = el("p.readout");
		const canvas = el("canvas.histogram", { role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuenow": "0", "aria-label": `Distribution of latency: ${FLOW_NAMES[flow]}` });
		const cell = { trial, flow, readout, canvas, surface: new Surface(canvas), sum: null, bar: null }; // bar: of which the values are read; null: of all
		grid.append(plotCell(flow, caption(trial, flow), readout, canvas));
		canvas.addEventListener("mousemove", (event) => this.look(cell, this.barUnder(cell, event.offsetX)));
		for (const leave of ["mouseleave", "blur"]) canvas.addEventListener(leave, () => this.look(cell, null));
		canvas.addEventListener("keydown", (event) => this.step(cell, event));
		return cell;
	}

	clear() {
		this.cells = [];
	}

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
		for (const c of this.cells) this.read(c);
	}

	// scale gives histograms the same axes.
	scale() {
		const bars = this.cells.flatMap((c) => [...c.ok.keys(), ...c.bad.keys()]);
		this.low = bars.length ? Math.min(...bars) - 1 : 40;
		this.high = bars.length ? Math.max(...bars) + 2 : 80;
		const highest = (c) => Math.max(0, ...[...c.ok.keys(), ...c.bad.keys()].map((b) => ((c.ok.get(b) ?? 0) + (c.bad.get(b) ?? 0)) / samples(c)));
		for (const c of this.cells) c.top = Math.max(0.01, ...alike(this.cells, c).map(highest));
	}

	fit() {
		for (const c of this.cells) this.draw(c);
	}

	draw(c) {
		if (!c.sum || !c.surface.begin([this.low, this.high], [0, c.top * 1.15])) return;
		let ticks = logTicks(barTime(this.low), barTime(this.high));
		while (ticks.length > c.surface.box.width / rems(5)) ticks = ticks.filter((_, i) => i % 2 === 0);
		c.surface.axes(ticks.map((us) => [barOf(us), microsBrief(us)]), niceTicks(c.top).map((part) => [part, percent(part)]));
		for (const b of barsOf(c)) drawBar(c, b);
		drawPercentiles(c);
	}

	look(c, bar) {
		if (!c.sum || c.bar === bar) return;
		c.bar = bar;
		this.draw(c);
		this.read(c);
	}

	read(c) {
		const text = c.bar === null ? summary(c) : valuesOf(c, c.bar);
		setText(c.readout, text);
		c.canvas.setAttribute("aria-valuetext", text);
	}

	barUnder(c, offset) {
		if (!c.surface.box) return null;
		const { left, width } = c.surface.box;
		const part = (offset * devicePixelRatio - left) / width;
		return part < 0 || part > 1 ? null : Math.floor(this.low + part * (this.high - this.low));
	}

	// step looks at the next bar that has a request.
	step(c, event) {
		const bars = barsOf(c);
		const at = bars.indexOf(c.bar);
		const last = bars.length - 1;
		const go = { ArrowLeft: at < 0 ? last : Math.max(0, at - 1), ArrowRight: Math.min(last, at + 1), Home: 0, End: last, Escape: -1 }[event.key];
		if (go === undefined || last < 0 || (go < 0 && c.bar === null)) return;
		event.preventDefault();
		this.look(c, bars[go] ?? null);
		c.canvas.setAttribute("aria-valuemax", last);
		c.canvas.setAttribute("aria-valuenow", Math.max(0, go));
	}
}

function barsOf(c) {
	return c.sum ? [...new Set([...c.ok.keys(), ...c.bad.keys()])].sort((a, b) => a - b) : [];
}

function summary(c) {
	const parts = percentiles(c).map(([name, us]) => `${name} ${micros(us)}`);
	return [`${number(c.sum.ok)} OK`, ...parts, `${number(c.sum.failed)} failed`].join(" · ");
}

function valuesOf(c, bar) {
	return `${micros(barTime(bar))} to ${micros(barTime(bar + 1))}: ${number(c.ok.get(bar) ?? 0)} OK, ${number(c.bad.get(bar) ?? 0)} failed`;
}

function drawBar({ surface, flow, ok, bad, ...c }, bar) {
	const { ctx, box } = surface;
	const px = devicePixelRatio;
	const bottom = box.top + box.height;
	const left = surface.x(bar) + px / 2;
	const wide = surface.x(bar + 1) - left - px / 2;
	const tall = (n) => (n ? Math.max(2 * px, bottom - surface.y(n / samples(c))) : 0);
	const [below, above] = [tall(ok.get(bar)), tall(bad.get(bar))];
	ctx.fillStyle = blend(palette()[flow], 0.55);
	ctx.fillRect(left, bottom - below, wide, below);
	ctx.fillStyle = hatch("cross", palette().bad);
	ctx.fillRect(left, bottom - below - above, wide, above);
	if (bar !== c.bar) return;
	ctx.strokeStyle = palette().text;
	ctx.lineWidth = 2 * px;
	ctx.strokeRect(left, bottom - below - above, wide, below + above);
}

function drawPercentiles(c) {
	const { ctx, box } = c.surface;
	ctx.textBaseline = "top";
	let after = -Infinity;
	let row = 0;
	for (const [name, us] of percentiles(c)) {
		const at = c.surface.x(barOf(us));
		ctx.strokeStyle = ctx.fillStyle = palette().text;
		ctx.lineWidth = devicePixelRatio;
		stroke(ctx, at, box.top, at, box.top + box.height);
		row = at < after ? row + 1 : 0;
		outlined(ctx, name, at + rems(0.2), box.top + row * rems(0.85));
		after = at + ctx.measureText(name).width + rems(0.5);
	}
}

// barOf is where a time in µs lies on the axis.
function barOf(us) {
	return Math.log(us) / Math.log(1.02) / JOIN;
}

// barTime is when a bar begins, in µs.
function barTime(bar) {
	return Math.pow(1.02, bar * JOIN);
}

// joined are the counts of a histogram by bar. Bucket b ends at 1.02^b.
function joined(histogram) {
	const bars = new Map();
	for (let i = 0; i < histogram.length; i += 2) {
		const bar = Math.floor(barOf(bucketMiddle(histogram[i])));
		bars.set(bar, (bars.get(bar) ?? 0) + histogram[i + 1]);
	}
	return bars;
}

function samples(c) {
	return Math.max(1, c.sum.requests - c.sum.dropped);
}

function percentiles(c) {
	return PERCENTILES.filter(([, , needed]) => c.sum.ok >= needed).map(([name, q]) => [name, percentile(c.sum.latency, q)]).filter(([, us]) => us !== null);
}
