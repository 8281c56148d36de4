// The distribution of latencies in what the charts show: a histogram per flow, on one logarithmic scale.
import { sumFlow, percentile, bucketMiddle } from "./store.js";
import { PERCENTILES, alike } from "./columns.js";
import { chartPanel, el, plotCell, setText } from "./dom.js";
import { Surface, palette, hatch, blend, rems, logTicks, niceTicks, outlined, stroke } from "./paint.js";
import { micros, microsBrief, number, percent, moment } from "./format.js";

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
		const canvas = el("canvas.histogram", { role: "img" });
		const cell = { trial, flow, readout, canvas, surface: new Surface(canvas), sum: null };
		grid.append(plotCell(flow, caption(trial, flow), readout, canvas));
		canvas.addEventListener("mousemove", (event) => this.hover(cell, event.offsetX));
		canvas.addEventListener("mouseleave", () => this.summary(cell));
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
		for (const c of this.cells) this.summary(c);
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
		for (const b of new Set([...c.ok.keys(), ...c.bad.keys()])) drawBar(c, b);
		drawPercentiles(c);
	}

	summary(c) {
		if (!c.sum) return;
		const parts = percentiles(c).map(([name, us]) => `${name} ${micros(us)}`);
		const text = [`${number(c.sum.ok)} OK`, ...parts, c.sum.failed ? `${number(c.sum.failed)} failed` : "0 failed"].join(" · ");
		setText(c.readout, text);
		c.canvas.setAttribute("aria-label", `Distribution of latency: ${text}`);
	}

	hover(c, offset) {
		if (!c.surface.box) return;
		const { left, width } = c.surface.box;
		const part = (offset * devicePixelRatio - left) / width;
		const bar = Math.floor(this.low + part * (this.high - this.low));
		if (part < 0 || part > 1) return this.summary(c);
		setText(c.readout, `${micros(barTime(bar))} to ${micros(barTime(bar + 1))}: ${number(c.ok.get(bar) ?? 0)} OK, ${number(c.bad.get(bar) ?? 0)} failed`);
	}
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
