// What each row of charts shows over time: rate by outcome, latency, shares, attempts. A panel has title, note, rem (its height) or height(cell), legend (rows of
// [class, text]), scale(cells, range), paint(plot, ctx, cell) and read(cell, row): the exact values, in words.
import { most, leastAbove } from "./columns.js";
import { palette, hatch, blend, niceTicks, logTicks, canvasFont, outlined, stroke } from "./paint.js";
import { markActions } from "./axis.js";
import { number, rate, percent, micros, microsBrief } from "./format.js";

// OUTCOMES are the parts of a stack from below, with how they are drawn.
const OUTCOMES = [
	["ok", "OK", "solid"], ["instance_errors", "error response of an instance", "solid"], ["nginx_errors", "error response of nginx", "lines"],
	["incomplete", "no whole response", "cross"], ["dropped", "dropped: never sent", "dots"],
];

// strokeColumn draws a column as a line; NaN breaks it.
function strokeColumn(plot, ctx, x, y, [low, high], step) {
	ctx.beginPath();
	let open = false;
	for (let i = low; i <= high; i++) {
		if (Number.isNaN(y[i])) {
			open = false;
			continue;
		}
		const at = plot.x(x[i]);
		if (!open) ctx.moveTo(at, plot.y(y[i]));
		else {
			if (step) ctx.lineTo(at, plot.y(y[i - 1]));
			ctx.lineTo(at, plot.y(y[i]));
		}
		open = true;
	}
	ctx.stroke();
}

// fillSteps fills between two columns, or between a column and a constant; each bin is as wide as it is long.
function fillSteps(plot, ctx, x, lower, upper, [low, high], fill) {
	ctx.fillStyle = fill;
	ctx.beginPath();
	for (let i = low; i < high; i++) {
		const from = typeof lower === "number" ? lower : lower[i];
		if (!(upper[i] > from)) continue;
		const left = Math.round(plot.x(x[i]));
		const top = plot.y(upper[i]);
		ctx.rect(left, top, Math.round(plot.x(x[i + 1])) - left, plot.y(from) - top);
	}
	ctx.fill();
}

// linear is a scale from 0, the same for all plots of a panel.
function linear(label) {
	return { top: 1, ends() { return [0, this.top]; }, ticks() { return niceTicks(this.top).map((v) => [v, label(v)]); } };
}

const outcomes = {
	id: "outcomes", title: "Requests per second, by outcome", note: "by planned start; × marks failed requests, however few", rem: 9,
	y: linear((v) => number(v)),
	legend: [...OUTCOMES.map(([name, text]) => ["mark-" + name, text]), ["mark-late", "late generator or machine"]],
	scale(cells, rangeOf) {
		this.y.top = 1.12 * Math.max(1, ...cells.map((c) => most(c.columns.flows[c.flow].dropped, rangeOf(c))));
	},
	paint(plot, ctx, cell) {
		const c = cell.columns.flows[cell.flow];
		const rows = cell.rows();
		const color = palette()[cell.flow];
		let lower = 0;
		for (const [name, , kind] of OUTCOMES) {
			const fill = name === "ok" ? blend(color, 0.3) : hatch(kind, name === "dropped" ? palette().quiet : palette().bad);
			fillSteps(plot, ctx, cell.columns.x, lower, c[name], rows, fill);
			lower = c[name];
		}
		lineOf(ctx, cell.flow, 1.5);
		strokeColumn(plot, ctx, cell.columns.x, c.ok, rows, true);
		ctx.setLineDash([]);
		crosses(plot, ctx, cell.columns.x, c.failed, rows);
	},
	read(cell, row) {
		const bin = cell.bin(row);
		const part = bin?.flows[cell.flow] ?? {};
		const seconds = cell.trial.info.width_ms / 1000;
		const n = part.requests ?? 0;
		const words = [["planned", `${number(n)} in ${seconds} s (${rate(n / seconds)})`], ["OK", number(part.ok ?? 0)]];
		for (const [name, text] of OUTCOMES.slice(1)) if (part[name]) words.push([text, number(part[name])]);
		if (part.others) words.push(["others", number(part.others)]);
		return words;
	},
};

// lineOf sets the line of a flow: solid, dashed or dotted, everywhere on the page.
function lineOf(ctx, flow, width) {
	const px = devicePixelRatio;
	ctx.strokeStyle = palette()[flow];
	ctx.lineWidth = width * px;
	ctx.lineJoin = "round";
	ctx.setLineDash({ http: [], grpc: [7 * px, 3 * px], streams: [2 * px, 3 * px] }[flow] ?? []);
}

// crosses marks at the top the bins in which requests failed: a few in a thousand would have no visible height.
function crosses(plot, ctx, x, failed, [low, high]) {
	const px = devicePixelRatio;
	const y = plot.box.top + 6 * px;
	ctx.strokeStyle = palette().bad;
	ctx.lineWidth = 1.75 * px;
	let last = -Infinity;
	for (let i = low; i < high; i++) {
		const at = (plot.x(x[i]) + plot.x(x[i + 1])) / 2;
		if (!failed[i] || at - last < 5 * px) continue;
		last = at;
		const d = 3 * px;
		stroke(ctx, at - d, y - d, at + d, y + d);
		stroke(ctx, at - d, y + d, at + d, y - d);
	}
}

const PERCENTILES = [["p99", 1, 0.55], ["p90", 1.5, 0.8], ["p50", 2.5, 1]];

const latency = {
	id: "latency", title: "Latency of OK requests", note: "p50, p90 and p99 of the last second, from the planned start; within 1 %", rem: 9,
	y: { low: 100, high: 1e5, log: true, ends() { return [this.low, this.high]; }, ticks() { return logTicks(this.low, this.high).map((v) => [v, microsBrief(v)]); } },
	legend: [],
	scale(cells, rangeOf) {
		const low = Math.min(...cells.map((c) => leastAbove(c.columns.flows[c.flow].p50, rangeOf(c))));
		const high = Math.max(...cells.flatMap((c) => ["p50", "p90", "p99"].map((p) => most(c.columns.flows[c.flow][p], rangeOf(c)))));
		if (high > 0) Object.assign(this.y, { low: low * 0.7, high: Math.max(high * 1.5, low * 4) });
	},
	paint(plot, ctx, cell) {
		const c = cell.columns.flows[cell.flow];
		const rows = cell.rows();
		for (const [name, width, alpha] of PERCENTILES) {
			lineOf(ctx, cell.flow, width);
			ctx.setLineDash([]);
			ctx.globalAlpha = alpha;
			strokeColumn(plot, ctx, cell.columns.x, c[name], rows, true);
			ctx.globalAlpha = 1;
		}
		nameLines(plot, ctx, cell, rows);
	},
	read(cell, row) {
		const c = cell.columns.flows[cell.flow];
		return ["p50", "p90", "p99"].map((p) => [p, Number.isNaN(c[p][row]) ? "too few" : micros(c[p][row])]);
	},
};

// nameLines writes p50, p90 and p99 at the right end of their lines, apart from each other.
function nameLines(plot, ctx, cell, [low, high]) {
	const px = devicePixelRatio;
	const c = cell.columns.flows[cell.flow];
	ctx.font = canvasFont(0.72);
	ctx.textAlign = "right";
	ctx.textBaseline = "bottom";
	ctx.fillStyle = palette().text;
	const right = Math.min(plot.x(cell.columns.x[high]), plot.box.left + plot.box.width) - 2 * px;
	let below = Infinity;
	for (const name of ["p50", "p90", "p99"]) {
		let i = high;
		while (i > low && Number.isNaN(c[name][i])) i--;
		if (Number.isNaN(c[name][i])) continue;
		const y = Math.min(plot.y(c[name][i]) - 2 * px, below - parseFloat(ctx.font));
		below = y;
		outlined(ctx, name, right, y);
	}
}

const shares = {
	id: "shares", title: "Share of each instance", note: "dotted: an equal share", top: 1,
	height: (cell) => Math.max(5, Math.min(16, cell.lanes.length * 2)) + 1.8,
	yOf: (cell) => ({ lines: false, ends: () => [0, cell.lanes.length], ticks: () => cell.lanes.map(([name], i) => [cell.lanes.length - i - 0.5, name]) }),
	legend: [],
	scale(cells, rangeOf) {
		for (const c of cells) c.lanes = c.columns.lanes();
		this.top = 1.05 * Math.max(0.05, ...cells.flatMap((c) => c.lanes.map(([n, fair]) => Math.max(1.6 * fair, most(c.columns.shares[c.flow][n], rangeOf(c))))));
	},
	paint(plot, ctx, cell) {
		const px = devicePixelRatio;
		const rows = cell.rows();
		cell.lanes.forEach(([name, fair], i) => {
			const base = cell.lanes.length - i - 1;
			fillLane(plot, ctx, cell.columns.x, cell.columns.shares[cell.flow][name], base, this.top, rows, blend(palette()[cell.flow], cell.chosen(name) ? 0.7 : 0.4));
			line(ctx, plot, base, palette().edge, [], px);
			line(ctx, plot, base + fair / this.top, palette().quiet, [2 * px, 3 * px], px);
		});
	},
	read(cell, row) {
		return cell.lanes.map(([n]) => {
			const v = cell.columns.shares[cell.flow][n][row];
			return [n.replace("whoami", ""), Number.isNaN(v) ? "–" : percent(v)];
		});
	},
};

// fillLane fills an instance's lane from its base up to its share.
function fillLane(plot, ctx, x, share, base, top, [low, high], fill) {
	ctx.fillStyle = fill;
	ctx.beginPath();
	const bottom = plot.y(base);
	const unit = plot.y(base + 1 / top) - bottom;
	for (let i = low; i < high; i++) {
		if (!(share[i] > 0)) continue;
		const left = Math.round(plot.x(x[i]));
		ctx.rect(left, bottom, Math.round(plot.x(x[i + 1])) - left, unit * share[i]);
	}
	ctx.fill();
}

function line(ctx, plot, value, color, dash, width) {
	const { left, width: wide } = plot.box;
	const y = Math.round(plot.y(value)) - 0.5;
	ctx.strokeStyle = color;
	ctx.lineWidth = width;
	ctx.setLineDash(dash);
	stroke(ctx, left, y, left + wide, y);
	ctx.setLineDash([]);
}

const attempts = {
	id: "attempts", title: "Attempts per request", note: "nginx's are the amplification", rem: 7,
	y: linear((v) => String(+v.toFixed(2))),
	legend: [["mark-nginx", "nginx's attempts"], ["mark-client", "client's attempts"], ["mark-nginx_errors", "nginx's without a response header"]],
	scale(cells, rangeOf) {
		const max = Math.max(1, ...cells.flatMap((c) => ["nginx_attempts", "client_attempts"].map((n) => most(c.columns.flows[c.flow][n], rangeOf(c)))));
		this.y.top = Math.max(1.25, max * 1.1);
	},
	paint(plot, ctx, cell) {
		const px = devicePixelRatio;
		const c = cell.columns.flows[cell.flow];
		const rows = cell.rows();
		fillSteps(plot, ctx, cell.columns.x, 0, c.failed_attempts, rows, hatch("lines", palette().bad));
		lineOf(ctx, cell.flow, 2);
		ctx.setLineDash([]);
		strokeColumn(plot, ctx, cell.columns.x, c.nginx_attempts, rows, true);
		ctx.strokeStyle = palette().text;
		ctx.lineWidth = 1.5 * px;
		ctx.setLineDash([2 * px, 3 * px]);
		strokeColumn(plot, ctx, cell.columns.x, c.client_attempts, rows, true);
		ctx.setLineDash([]);
	},
	read(cell, row) {
		const c = cell.columns.flows[cell.flow];
		const of = (n) => (Number.isNaN(c[n][row]) ? "–" : String(+c[n][row].toFixed(3)));
		const part = cell.bin(row)?.flows[cell.flow] ?? {};
		const words = [["nginx", of("nginx_attempts")], ["client", of("client_attempts")], ["without header", of("failed_attempts")]];
		if (part.in_doubt) words.push(["in doubt", number(part.in_doubt)]);
		if (part.no_live_upstreams) words.push(["no live upstreams", number(part.no_live_upstreams)]);
		return words;
	},
};

// PANELS are the rows of charts, from above.
export const PANELS = [outcomes, latency, shares, attempts];

// paintCell draws a cell's panel with the marks of its trial.
export function paintCell(panel, plot, ctx, cell) {
	panel.paint(plot, ctx, cell);
	markActions(plot, ctx, cell.trial);
	markLate(plot, ctx, cell.trial);
}

// markLate marks at the top where the generator or the machine was late: what is below is in doubt.
function markLate(plot, ctx, trial) {
	const px = devicePixelRatio;
	const [from, to] = plot.axis.range();
	const width = trial.info.width_ms;
	ctx.fillStyle = palette().warn;
	for (let n = Math.max(trial.first, Math.floor(from / width)); n <= Math.min(trial.last, to / width); n++) {
		const bin = trial.bins.get(n);
		if (!bin?.generator?.late && !bin?.machine?.starved) continue;
		const left = plot.x(n * width);
		ctx.fillRect(left, plot.box.top, Math.max(3 * px, plot.x((n + 1) * width) - left), 5 * px);
	}
}
