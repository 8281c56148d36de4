// The row above the charts: phases, actions, and when requests failed and when that was over, on the same time axis.
import { palette, hatch, canvasFont, stroke } from "./paint.js";
import { actionsOf } from "./axis.js";
import { moment } from "./format.js";

// lanes are the rows from above, with as many for actions as their texts need.
const lanes = { names: [], actions: 0 };
const MOST_ACTIONS = 4;

export const marksPanel = {
	id: "marks", title: "What was done, and how it recovered", note: "fair: each instance has at least 90 % of an equal share of the OK responses",
	height: () => 1.15 * lanes.names.length + 1.9,
	y: {
		lines: false,
		ends: () => [0, lanes.names.length],
		ticks: () => lanes.names.map((name, i) => [lanes.names.length - i - 0.5, name]),
	},
	legend: [],
	empty: () => !lanes.names.length,
	scale(cells) {
		const some = (f) => cells.some(f);
		lanes.actions = Math.max(0, ...cells.map((c) => (c.plot.box ? placed(c).lanes : 1)));
		const actions = lanes.actions ? ["action", ...Array(lanes.actions - 1).fill("")] : [];
		const failed = some((c) => c.recoveries.some((r) => r.firstFailure !== null)) ? ["failed"] : [];
		const fair = some((c) => c.recoveries.length) ? ["fair"] : [];
		lanes.names = [...(some((c) => c.trial.info.phases.length) ? ["phase"] : []), ...actions, ...failed, ...fair];
	},
	paint(cell) {
		Object.assign(cell.plot.ctx, { font: canvasFont(0.75), textBaseline: "middle", textAlign: "left" });
		paintPhases(cell.plot, cell.trial);
		const first = lanes.names.indexOf("action");
		for (const a of placed(cell).actions) paintAction(cell.plot, a, laneAt(cell.plot, first + Math.min(a.lane, lanes.actions - 1)));
		for (const r of cell.recoveries) paintRecovery(cell.plot, r);
	},
	read(cell) {
		return cell.recoveries.slice(cell.trial.info.experiment ? -4 : -1).flatMap((r) => words(r, cell.trial));
	},
};

function words(r, trial) {
	const at = (ms) => (r.exact ? `+${(ms / 1000).toFixed(2)} s` : moment(trial.info, ms));
	const all = [];
	if (r.firstFailure !== null) all.push(["first failure", at(r.firstFailure)], ["last", at(r.lastFailure)], ["next OK", r.firstSuccess === null ? "none" : at(r.firstSuccess)]);
	all.push(r.few ? ["shares", "too few responses to judge"] : r.fairSince === null ? ["shares", trial.info.experiment ? "not fair at the end" : "not fair yet"] : ["fair since", at(r.fairSince)]);
	all[0][0] = `${r.name}: ${all[0][0]}`;
	return all;
}

function laneAt(plot, n) {
	const top = plot.y(lanes.names.length - n);
	const bottom = plot.y(lanes.names.length - n - 1);
	return { top: top + 2 * devicePixelRatio, height: bottom - top - 4 * devicePixelRatio, middle: (top + bottom) / 2 };
}

function paintPhases(plot, trial) {
	const { ctx } = plot;
	const at = laneAt(plot, 0);
	const px = devicePixelRatio;
	for (const p of trial.info.phases) {
		const [from, to] = plot.clip(plot.x(p.from), plot.x(p.to));
		if (to - from < 2) continue;
		ctx.strokeStyle = palette().edge;
		ctx.lineWidth = px;
		ctx.strokeRect(from + px, at.top, to - from - 2 * px, at.height);
		ctx.fillStyle = palette().text;
		writeInside(ctx, p.name, from + 5 * px, to - 4 * px, at.middle);
	}
}

function writeInside(ctx, text, from, to, y) {
	let shown = text;
	while (shown.length > 1 && ctx.measureText(shown + (shown === text ? "" : "…")).width > to - from) shown = shown.slice(0, -1);
	if (shown.length > 1 || shown === text) ctx.fillText(shown === text ? text : shown + "…", from, y);
}

// placed gives each action in view the first lane that is free where its text is; near the right edge that is left of its mark.
function placed({ plot, trial }) {
	const { ctx } = plot;
	const px = devicePixelRatio;
	const { left, width } = plot.box;
	plot.range = plot.axis.range(); // It may have changed since the last drawing.
	const free = Array(MOST_ACTIONS).fill(-Infinity);
	const all = { actions: [], lanes: 0 };
	ctx.font = canvasFont(0.75);
	for (const e of actionsOf(trial)) {
		const x = plot.x(e.at);
		if (x < left || x > left + width) continue;
		const text = e.text.split(":")[0]; // Without why it failed.
		const wide = ctx.measureText(text).width + 12 * px;
		const flip = x + wide > left + width;
		const from = flip ? x - wide : x;
		const found = free.findIndex((f) => f <= from);
		const lane = found < 0 ? MOST_ACTIONS - 1 : found;
		free[lane] = from + wide + 4 * px;
		all.lanes = Math.max(all.lanes, lane + 1);
		all.actions.push({ e, text, x, flip, lane });
	}
	return all;
}

function paintAction(plot, { e, text, x, flip }, at) {
	const { ctx } = plot;
	const px = devicePixelRatio;
	const d = at.height / 3;
	ctx.fillStyle = palette().text;
	ctx.beginPath();
	ctx.moveTo(x - d, at.middle - d);
	ctx.lineTo(x + d, at.middle - d);
	ctx.lineTo(x, at.middle + d);
	ctx.fill();
	if (e.until > e.at) ctx.fillRect(x, at.top + at.height - 2 * px, Math.max(px, plot.x(e.until) - x), 2 * px);
	ctx.textAlign = flip ? "right" : "left";
	ctx.fillText(text, flip ? x - d - 3 * px : x + d + 3 * px, at.middle);
	ctx.textAlign = "left";
}

function paintRecovery(plot, r) {
	const { ctx } = plot;
	const px = devicePixelRatio;
	const c = palette();
	if (r.firstFailure !== null) {
		const at = laneAt(plot, lanes.names.indexOf("failed"));
		const [from, to] = [plot.x(r.firstFailure), plot.x(r.lastFailure)];
		ctx.fillStyle = hatch("cross", c.bad);
		ctx.fillRect(from, at.top, Math.max(4 * px, to - from), at.height);
		if (r.firstSuccess !== null) okAgain(ctx, plot.x(r.firstSuccess), at);
	}
	if (r.fairSince === null) return;
	const at = laneAt(plot, lanes.names.indexOf("fair"));
	ctx.fillStyle = c.good;
	const from = plot.x(r.fairSince);
	ctx.fillRect(from, at.top + at.height / 3, plot.x(r.to) - from - 2 * px, at.height / 3);
	ctx.fillRect(from, at.top, 2 * px, at.height);
}

// okAgain draws a check mark where the first request after the last failure was OK.
function okAgain(ctx, x, at) {
	const d = at.height / 3;
	const left = x + 6 * devicePixelRatio;
	ctx.strokeStyle = palette().good;
	ctx.lineWidth = 2 * devicePixelRatio;
	stroke(ctx, left, at.middle, left + d, at.middle + d, left + 2.5 * d, at.middle - d);
}
