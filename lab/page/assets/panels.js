// What each row of charts shows: a panel has title, note, rem (its height) or height(cell), legend of [class, text], scale(cells), paint(cell)
// and read(cell, row): the exact values, in words. A cell is what charts.js makes of a panel, a trial and a flow.
import { PERCENTILES, alike, most, leastAbove } from "./columns.js";
import { palette, hatch, blend, niceTicks, logTicks, canvasFont, outlined, stroke } from "./paint.js";
import { markActions } from "./axis.js";
import { number, rate, percent, micros, microsBrief } from "./format.js";

// OUTCOMES are stacked from below.
const OUTCOMES = [
	["ok", "OK", "solid"], ["instance_errors", "error response of an instance", "solid"], ["nginx_errors", "error response of nginx", "lines"],
	["incomplete", "no whole response", "cross"], ["dropped", "dropped: never sent", "dots"],
];

// strokeColumn draws a column in steps, as a solid line or as one of that pattern; NaN breaks it.
function strokeColumn(cell, y, color, width, pattern = []) {
	const { x, plot } = cell;
	const { ctx } = plot;
	const [low, high] = cell.rows();
	setPen(ctx, color, width, pattern);
	ctx.lineJoin = "round";
	ctx.beginPath();
	for (let i = low; i <= high; i++) {
		if (Number.isNaN(y[i])) continue;
		const at = plot.x(x[i]);
		if (i === low || Number.isNaN(y[i - 1])) ctx.moveTo(at, plot.y(y[i]));
		else ctx.lineTo(at, plot.y(y[i - 1]));
		ctx.lineTo(at, plot.y(y[i]));
	}
	ctx.stroke();
	ctx.setLineDash([]);
}

// setPen sets color, width and pattern of lines; lengths are in CSS pixels.
function setPen(ctx, color, width, pattern = []) {
	const px = devicePixelRatio;
	ctx.strokeStyle = color;
	ctx.lineWidth = width * px;
	ctx.setLineDash(pattern.map((n) => n * px));
}

// fillSteps fills between two values of each row; each bin is as wide as it is long.
function fillSteps(cell, lower, upper, fill) {
	const { x, plot } = cell;
	const { ctx } = plot;
	const [low, high] = cell.rows();
	ctx.fillStyle = fill;
	ctx.beginPath();
	for (let i = low; i < high; i++) {
		const [from, to] = [lower(i), upper(i)];
		if (!(to > from)) continue;
		const left = Math.round(plot.x(x[i]));
		const top = plot.y(to);
		ctx.rect(left, top, Math.round(plot.x(x[i + 1])) - left, plot.y(from) - top);
	}
	ctx.fill();
}

// highest is the largest value that is shown of some columns.
function highest(cells, names) {
	return Math.max(...cells.flatMap((c) => names.map((n) => most(c.column[n], c.rows()))));
}

// linear is a scale from 0, one for all plots of a panel.
function linear(label) {
	return { top: 1, ends() { return [0, this.top]; }, ticks() { return niceTicks(this.top).map((v) => [v, label(v)]); } };
}

const PATTERNS = { http: [], grpc: [7, 3], streams: [2, 3] }; // of lines, everywhere on the page

const outcomes = {
	id: "outcomes", title: "Requests per second, by outcome", note: "by planned start; × marks failed requests, however few", rem: 9,
	y: linear((v) => number(v)),
	legend: [...OUTCOMES.map(([name, text]) => ["mark-" + name, text]), ["mark-late", "late generator or machine"]],
	scale(cells) {
		this.y.top = 1.12 * Math.max(1, highest(cells, ["dropped"]));
	},
	paint(cell) {
		const { column, flow } = cell;
		const color = palette()[flow];
		let lower = () => 0;
		for (const [name, , kind] of OUTCOMES) {
			const upper = (i) => column[name][i];
			fillSteps(cell, lower, upper, name === "ok" ? blend(color, 0.3) : hatch(kind, name === "dropped" ? palette().quiet : palette().bad));
			lower = upper;
		}
		strokeColumn(cell, column.ok, color, 1.5, PATTERNS[flow]);
		crosses(cell);
	},
	read(cell, row) {
		const part = cell.part(row);
		const seconds = cell.trial.info.width_ms / 1000;
		const n = part.requests ?? 0;
		const words = [["planned", `${number(n)} in ${seconds} s (${rate(n / seconds)})`], ["OK", number(part.ok ?? 0)]];
		return [...words, ...counted(part, [...OUTCOMES.slice(1), ["others", "others"]])];
	},
};

function counted(part, names) {
	return names.filter(([name]) => part[name]).map(([name, text]) => [text, number(part[name])]);
}

// crosses marks at the top the bins in which requests failed: a few in a thousand would have no visible height.
function crosses(cell) {
	const { x, plot } = cell;
	const { ctx } = plot;
	const [low, high] = cell.rows();
	const px = devicePixelRatio;
	const y = plot.box.top + 6 * px;
	const d = 3 * px;
	setPen(ctx, palette().bad, 1.75);
	let last = -Infinity;
	for (let i = low; i < high; i++) {
		const at = (plot.x(x[i]) + plot.x(x[i + 1])) / 2;
		if (!cell.column.failed[i] || at - last < 5 * px) continue;
		last = at;
		stroke(ctx, at - d, y - d, at + d, y + d);
		stroke(ctx, at - d, y + d, at + d, y - d);
	}
}

// LINES have width and opacity; the last, opaque one is on top.
const LINES = [["p99", 1, 0.55], ["p90", 1.5, 0.8], ["p50", 2.5, 1]];

const latency = {
	id: "latency", title: "Latency of OK requests", note: "p50, p90 and p99 of the last second, from the planned start; within 1 %", rem: 9,
	y: { low: 100, high: 1e5, log: true, ends() { return [this.low, this.high]; }, ticks() { return logTicks(this.low, this.high).map((v) => [v, microsBrief(v)]); } },
	legend: [],
	scale(cells) {
		const low = Math.min(...cells.map((c) => leastAbove(c.column.p50, c.rows())));
		const high = highest(cells, ["p50", "p90", "p99"]);
		if (high > 0) Object.assign(this.y, { low: low * 0.7, high: Math.max(high * 2, low * 4) });
	},
	paint(cell) {
		const { ctx } = cell.plot;
		for (const [name, width, alpha] of LINES) {
			ctx.globalAlpha = alpha;
			strokeColumn(cell, cell.column[name], palette()[cell.flow], width);
		}
		nameLines(cell);
	},
	read: (cell, row) => PERCENTILES.map(([p]) => [p, Number.isNaN(cell.column[p][row]) ? "too few" : micros(cell.column[p][row])]),
};

// nameLines writes p50, p90 and p99 at the right end of their lines, apart from each other.
function nameLines(cell) {
	const { column, plot } = cell;
	const { ctx } = plot;
	const px = devicePixelRatio;
	const [low, high] = cell.rows();
	ctx.font = canvasFont(0.72);
	ctx.textAlign = "right";
	ctx.textBaseline = "bottom";
	ctx.fillStyle = palette().text;
	const right = Math.min(plot.x(cell.x[high]), plot.box.left + plot.box.width) - 2 * px;
	let below = Infinity;
	for (const [name] of PERCENTILES) {
		let i = high;
		while (i > low && Number.isNaN(column[name][i])) i--;
		if (Number.isNaN(column[name][i])) continue;
		below = Math.min(plot.y(column[name][i]) - 2 * px, below - parseFloat(ctx.font));
		outlined(ctx, name, right, below);
	}
}

const shares = {
	id: "shares", title: "Share of each instance", note: "dotted: an equal share",
	height: (cell) => Math.max(5, Math.min(16, cell.lanes.length * 2)) + 1.8,
	yOf: (cell) => ({ lines: false, ends: () => [0, cell.lanes.length], ticks: () => cell.lanes.map(([name], i) => [cell.lanes.length - i - 0.5, name]) }),
	legend: [],
	scale(cells) {
		for (const c of cells) c.lanes = c.columns.lanes();
		const largest = (c) => c.lanes.map(([n, fair]) => Math.max(1.6 * fair, most(c.shares[n], c.rows())));
		for (const c of cells) c.top = 1.05 * Math.max(0.05, ...alike(cells, c).flatMap(largest));
	},
	paint(cell) {
		const { top } = cell;
		cell.lanes.forEach(([name, fair], i) => {
			const base = cell.lanes.length - i - 1;
			const share = cell.shares[name];
			fillSteps(cell, () => base, (row) => base + share[row] / top, blend(palette()[cell.flow], cell.chosen(name) ? 0.7 : 0.4));
			level(cell.plot, base, palette().edge);
			level(cell.plot, base + fair / top, palette().quiet, PATTERNS.streams);
		});
	},
	read: (cell, row) => cell.lanes.map(([n]) => [n.replace("whoami-", "#"), orDash(cell.shares[n][row], percent)]),
};

function level(plot, value, color, pattern) {
	const { ctx, box } = plot;
	const y = Math.round(plot.y(value)) - 0.5;
	setPen(ctx, color, 1, pattern);
	stroke(ctx, box.left, y, box.left + box.width, y);
	ctx.setLineDash([]);
}

function orDash(value, write) {
	return Number.isNaN(value) ? "–" : write(value);
}

const attempts = {
	id: "attempts", title: "Attempts per request", note: "nginx's are the amplification", rem: 7,
	y: linear((v) => String(+v.toFixed(2))),
	legend: [["mark-nginx", "nginx's attempts"], ["mark-client", "client's attempts"], ["mark-nginx_errors", "nginx's without a response header"]],
	scale(cells) {
		this.y.top = Math.max(1.25, highest(cells, ["nginx_attempts", "client_attempts"]) * 1.1);
	},
	paint(cell) {
		const { column, flow } = cell;
		fillSteps(cell, () => 0, (i) => column.failed_attempts[i], hatch("lines", palette().bad));
		strokeColumn(cell, column.nginx_attempts, palette()[flow], 2);
		strokeColumn(cell, column.client_attempts, palette().text, 1.5, PATTERNS.streams);
	},
	read(cell, row) {
		const of = (n) => orDash(cell.column[n][row], (v) => String(+v.toFixed(3)));
		const words = [["nginx", of("nginx_attempts")], ["client", of("client_attempts")], ["without header", of("failed_attempts")]];
		return [...words, ...counted(cell.part(row), [["in_doubt", "in doubt"], ["no_live_upstreams", "no live upstreams"]])];
	},
};

export const PANELS = [outcomes, latency, shares, attempts];

export function paintCell(panel, cell) {
	panel.paint(cell);
	markActions(cell.plot, cell.trial);
	markLate(cell.plot, cell.trial);
}

// markLate marks at the top where the generator or the machine was late: what is below is in doubt.
function markLate(plot, trial) {
	const px = devicePixelRatio;
	const [from, to] = plot.axis.range();
	const width = trial.info.width_ms;
	plot.ctx.fillStyle = palette().warn;
	for (let n = Math.max(trial.first, Math.floor(from / width)); n <= Math.min(trial.last, to / width); n++) {
		const bin = trial.bins.get(n);
		if (!bin?.generator?.late && !bin?.machine?.starved) continue;
		const left = plot.x(n * width);
		plot.ctx.fillRect(left, plot.box.top, Math.max(3 * px, plot.x((n + 1) * width) - left), 5 * px);
	}
}
