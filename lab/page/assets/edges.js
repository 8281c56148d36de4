// The connections of the picture: lines from the client over nginx to the instances, as wide as their rates.
import { setText, svg } from "./dom.js";
import { rate } from "./format.js";
import { FLOWS } from "./store.js";

const WIDEST = 16; // px: of the largest rate. All lengths are for a font of 16 px, and grow with it.
const WIDEST_DOWN = 8; // px: where the lines go down beside the instances
const NARROWEST = 1.5; // px: of any rate
const LANE = 40; // px between the flows at nginx
const PORTS = [0, 0, 22, 28]; // px between the flows at an instance, by their number: above the line in the middle is its text
const HEAD = 9; // px: the length of an arrowhead
const STRAIGHT = 100; // px before an instance, for the numbers
const FRAME = 250; // ms between two steps of what moves
const MOVE_STEP = 6; // px that it moves

// Edges draws the connections below the boxes of root.
export class Edges {
	constructor(root) {
		this.root = root;
		this.svg = svg("svg.edges", { "aria-hidden": "true", focusable: "false" });
		this.under = svg("g");
		this.over = svg("g"); // texts, above all lines
		this.svg.append(this.under, this.over);
		root.prepend(this.svg);
		this.lines = new Map(); // key → {path, bead, head, label, failed, way}
		this.offset = 0;
		this.timer = 0;
		this.calm = matchMedia("(prefers-reduced-motion: reduce)");
	}

	// place computes where the lines are between boxes: elements of the client, of nginx and of the instances by name.
	place(boxes, flows, hops) {
		const frame = this.root.getBoundingClientRect();
		this.scale = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
		const instances = new Map([...boxes.instances].map(([name, element]) => [name, boxIn(element, frame)]));
		const at = { client: boxIn(boxes.client, frame), nginx: boxIn(boxes.nginx, frame), instances, scale: this.scale };
		this.svg.setAttribute("viewBox", `0 0 ${Math.round(frame.width)} ${Math.round(frame.height)}`);
		this.drawn = new Set();
		this.down = at.nginx.left < at.client.right;
		const ways = this.down ? waysDown(at, flows) : waysAcross(at, flows);
		if (hops && !this.down) ways.push(...hopWays(at, hops));
		for (const way of ways) this.line(way);
		for (const [key, line] of this.lines) {
			if (this.drawn.has(key)) continue;
			line.group.remove();
			line.texts.remove();
			this.lines.delete(key);
		}
	}

	// line makes or moves a line.
	line(way) {
		let line = this.lines.get(way.key);
		if (!line) {
			const [path, bead, head] = ["edge", "bead", "head"].map((c) => svg("path", { class: `${c} ${way.flow}` }));
			const [failed, label] = ["bad", way.flow].map((c) => svg("tspan", { class: c }));
			line = { path, bead, head, label, failed, group: svg("g", path, bead, head), texts: svg("text.count", failed, label) };
			this.lines.set(way.key, line);
			this.under.append(line.group);
			this.over.append(line.texts);
		}
		line.way = way;
		line.path.setAttribute("d", way.d);
		line.bead.setAttribute("d", way.d);
		line.texts.setAttribute("x", px(way.x ?? 0));
		line.texts.setAttribute("text-anchor", way.anchor ?? "end");
		line.width = null; // The label has to move, too.
		this.drawn.add(way.key);
	}

	// show sets a line's rate, as a part of widest, its text, and what failed on it.
	show(key, perSecond, widest, text, failed = 0) {
		const line = this.lines.get(key);
		if (!line) return;
		const most = (this.down ? WIDEST_DOWN : WIDEST) * this.scale;
		const width = perSecond > 0 ? Math.max(NARROWEST, Math.min(1.4, perSecond / (widest || 1)) * most) : 1;
		const drawn = Math.round(width * 2) / 2;
		if (line.width !== drawn) this.widen(line, drawn);
		setClass(line, "idle", perSecond <= 0);
		setText(line.label, line.way.x === undefined ? "" : text);
		setText(line.failed, failed > 0 && line.way.x !== undefined ? `✕ ${rate(failed)} ` : "");
	}

	widen(line, width) {
		const { way } = line;
		line.width = width;
		line.path.style.setProperty("stroke-width", width + "px");
		line.bead.style.setProperty("stroke-width", Math.max(1, width * 0.35) + "px");
		if (way.end) line.head.setAttribute("d", headAt(way.end, width + 7 * this.scale, HEAD * this.scale));
		if (way.x === undefined) return;
		const off = { beside: 0, below: width / 2 + 13 * this.scale };
		line.texts.setAttribute("y", way.y + (off[way.side] ?? -width / 2 - 4));
	}

	highlight(selection) {
		for (const [key, line] of this.lines) {
			const of = key.split(" ");
			const chosen = selection && (selection.instance ? of[1] === selection.instance : line.way.flow === selection.flow);
			setClass(line, "faded", Boolean(selection) && !chosen && of[0] !== "in");
		}
	}

	// move lets the lines move or stand still, as they do if no motion is wanted, or if the page is hidden.
	move(on) {
		const moves = on && !this.calm.matches && !document.hidden;
		if (moves && !this.timer) this.timer = setInterval(() => this.step(), FRAME);
		if (!moves && this.timer) {
			clearInterval(this.timer);
			this.timer = 0;
		}
	}

	step() {
		this.offset = (this.offset + MOVE_STEP) % 720; // a multiple of each pattern's length
		this.svg.style.setProperty("--shift", `${-this.offset}px`);
		if (document.hidden || this.calm.matches) this.move(false);
	}
}

function boxIn(element, frame) {
	const r = element.getBoundingClientRect();
	const box = { left: r.left - frame.left, right: r.right - frame.left, top: r.top - frame.top, bottom: r.bottom - frame.top };
	return { ...box, x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2, width: r.width, height: r.height };
}

// spread is the place around 0 of the i-th of n lines so far apart.
function spread(i, n, apart) {
	return (i - (n - 1) / 2) * apart;
}

function waysAcross({ client, nginx, instances, scale }, flows) {
	const ways = [];
	const head = HEAD * scale;
	flows.forEach((flow, i) => {
		const y = nginx.y + spread(i, flows.length, LANE * scale);
		const x = nginx.left - 2;
		ways.push({ key: `in ${flow}`, flow, d: path`M${client.right} ${y}H${x - head}`, end: { x, y, to: "right" }, x: (client.right + nginx.left) / 2, y, anchor: "middle" });
		let nth = 0;
		for (const [name, box] of instances) {
			const start = y + spread(nth++, instances.size, Math.min(7, (LANE - 8) / instances.size) * scale);
			const to = box.y + spread(i, flows.length, Math.min(PORTS[flows.length] * scale, (box.height * 0.8) / flows.length));
			const tip = box.left - 2;
			const straight = tip - Math.min(STRAIGHT * scale, (tip - nginx.right) / 2);
			const bend = (nginx.right + straight) / 2;
			const d = path`M${nginx.right} ${start}C${bend} ${start} ${bend} ${to} ${straight} ${to}H${tip - head}`;
			const side = i > 0 && i === flows.length - 1 ? "below" : "above";
			ways.push({ key: `to ${name} ${flow}`, flow, d, end: { x: tip, y: to, to: "right" }, x: tip - head - 2, y: to, side });
		}
	});
	return ways;
}

function waysDown({ client, nginx, instances, scale }, flows) {
	const ways = [];
	const head = HEAD * scale;
	flows.forEach((flow, i) => {
		const x = client.left + (client.width * (i + 0.5)) / flows.length - 24;
		const y = nginx.top - 2;
		ways.push({ key: `in ${flow}`, flow, d: path`M${x} ${client.bottom}V${y - head}`, end: { x, y, to: "down" }, x: x + 14, y: (client.bottom + nginx.top) / 2, anchor: "start", side: "beside" });
		const trunk = nginx.left + 8 + i * 13;
		for (const [name, box] of instances) {
			const to = box.top + 22 + i * 13;
			const tip = box.left - 2;
			ways.push({ key: `to ${name} ${flow}`, flow, d: path`M${trunk} ${nginx.bottom}V${to}H${tip - head}`, end: { x: tip, y: to, to: "right" } });
		}
	});
	return ways;
}

// hopWays are of calls from instances back to nginx; hops are the names of those that make them.
function hopWays({ nginx, instances, scale }, hops) {
	const callers = hops.map((name) => [name, instances.get(name)]);
	if (!callers.length) return [];
	const all = [...instances.values()];
	const bus = Math.max(...all.map((b) => b.right)) + 14 * scale;
	const floor = Math.max(nginx.bottom + 26, ...all.map((b) => b.bottom)) + 30 * scale;
	const top = Math.min(...callers.map(([, b]) => b.y));
	const y = nginx.bottom + 2;
	const back = path`M${bus} ${top}V${floor}H${nginx.x}V${y + HEAD * scale}`;
	const ways = callers.map(([name, b]) => ({ key: `call ${name}`, flow: "hop", d: path`M${b.right} ${b.y}H${bus}` }));
	return [...ways, { key: "calls", flow: "hop", d: back, end: { x: nginx.x, y, to: "up" }, x: (nginx.x + bus) / 2, y: floor, anchor: "middle" }];
}

// headAt is an arrowhead by its tip.
function headAt({ x, y, to }, wide, long) {
	const half = wide / 2;
	if (to === "right") return path`M${x} ${y}l${-long} ${-half}v${wide}z`;
	return path`M${x} ${y}l${-half} ${to === "down" ? -long : long}h${wide}z`;
}

// path is an SVG path with its numbers in whole and half pixels.
function path(parts, ...values) {
	return String.raw({ raw: parts }, ...values.map(px));
}

function px(x) {
	return Math.round(x * 2) / 2;
}

function setClass(line, name, on) {
	for (const element of [line.group, line.texts]) if (element.classList.contains(name) !== on) element.classList.toggle(name, on);
}

// widestOf is the rate that is drawn widest: the largest planned; that measured if there is none, or if instances call others.
export function widestOf(info, control, measured, hops) {
	const planned = info.loads.flatMap((l) => (l.flow === "streams" ? [] : l.per_second ?? []));
	const most = Math.max(0, ...planned, control?.load?.http ?? 0, control?.load?.grpc ?? 0);
	return hops ? Math.max(1, most, measured) : most || Math.max(1, measured);
}

// flowsOf are the flows of a trial that are drawn: HTTP and gRPC always.
export function flowsOf(trial) {
	return FLOWS.filter((f) => f !== "streams" || trial.total.streams || trial.info.loads.some((l) => l.flow === "streams"));
}
