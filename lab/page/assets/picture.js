// The picture: the way of requests from the client over nginx to the instances, at one moment.
import { el, press, setText } from "./dom.js";
import { FLOW_NAMES, moment, number, plural, rate } from "./format.js";
import { icon, swatch } from "./icons.js";
import { flowNews, instanceNews, stateAt, sumFlow, sumInstance } from "./store.js";
import { Card } from "./card.js";
import { Detail } from "./detail.js";
import { Edges, flowsOf, widestOf } from "./edges.js";

const RATES = 1000; // ms that rates are of
const SHARES = 5000; // ms that shares are of
const LAG = 500; // ms that the records of a live stack need to arrive
const LATELY = 6000; // ms for which an event stays above the picture
const PICTURE_PAUSE = 100; // ms between two drawings
const MANY = 6; // instances: with more, cards are small
const MOVING = 700; // ms for which lines move after a step of a replay

export function mountPicture(root, store) {
	const picture = new Picture(root, store);
	store.on("trials data control connection", () => picture.soon());
	store.on("now", () => {
		picture.steppedAt = performance.now();
		picture.soon();
	});
	store.on("selection", () => picture.select());
	picture.soon();
}

class Picture {
	constructor(root, store) {
		this.store = store;
		this.key = "";
		this.timer = 0;
		this.cards = new Map();
		this.steppedAt = -Infinity;
		this.when = el("span.clock");
		this.phase = el("span.phase.quiet");
		this.lately = el("span");
		this.client = flowBox("Client", ["Requests per second that ended", "Requests that failed", "Attempts of the client per request"]);
		this.nginx = flowBox("nginx", ["Attempts of nginx per request (amplification)", "Attempts without a response header", "Error responses that nginx generated itself"]);
		this.services = el("div.services");
		this.way = el("div.way", this.client.element, this.nginx.element, this.services);
		this.detail = new Detail(store);
		const legend = `Width: rate. ✕: attempts without a response header. Share: of first attempts in ${SHARES / 1000} s; the mark is an equal share. nginx does not say what it does with an instance: that is inferred from its access log.`;
		root.append(el("h2.sr", "The way of requests"), el("p.lately", el("span", this.when, this.phase), this.lately), this.way, el("p.legend.small.quiet", legend), this.detail.element);
		this.edges = new Edges(this.way);
		this.sizes = new ResizeObserver(() => this.place());
	}

	// soon draws once for all changes of a moment.
	soon() {
		if (this.timer || document.hidden) return;
		this.timer = setTimeout(() => {
			this.timer = 0;
			this.draw();
		}, PICTURE_PAUSE);
	}

	draw() {
		const { trial } = this.store;
		this.way.hidden = !trial;
		if (!trial) return setText(this.lately, this.store.problem ?? "No data yet.");
		const flows = flowsOf(trial);
		const key = [this.store.focus, ...flows, ...trial.info.instances.map((i) => i.name)].join(" ");
		if (this.key !== key) this.build(trial, flows, key);
		const view = this.measure(trial, flows);
		this.drawLately(trial, view);
		drawClient(this.client, view);
		drawNginx(this.nginx, trial.info, view);
		for (const card of this.cards.values()) drawCard(card, trial, view, this.hops);
		this.drawHops(trial, view);
		this.drawEdges(view);
		const chosen = trial.info.instances.find((i) => i.name === this.store.selection?.instance);
		this.detail.show(trial, chosen, view);
		this.move();
	}

	build(trial, flows, key) {
		this.key = key;
		this.flows = flows;
		this.hops = false;
		this.callers = new Set();
		this.cards.clear();
		const services = Map.groupBy(trial.info.instances, (i) => i.service || "instances");
		const groups = [...services].map(([service, instances]) => {
			for (const i of instances) this.cards.set(i.name, new Card(this.store, i, flows));
			const list = el("ul.instances", { "aria-label": `Instances of ${service}` }, ...instances.map((i) => this.cards.get(i.name).element));
			return el("div.service", services.size > 1 && el("h3", service), list);
		});
		this.services.replaceChildren(...groups);
		this.way.classList.toggle("many", this.cards.size > MANY);
		buildRows(this.client, flows, this.store);
		buildRows(this.nginx, flows, this.store);
		this.select();
		this.sizes.disconnect();
		for (const element of [this.way, ...[...this.cards.values()].map((c) => c.element)]) this.sizes.observe(element);
		this.place();
	}

	place() {
		if (!this.key) return;
		const boxes = { client: this.client.element, nginx: this.nginx.element, instances: new Map([...this.cards].map(([name, c]) => [name, c.element])) };
		this.edges.place(boxes, this.flows, this.hops && [...this.cards.keys()].filter((name) => this.callers.has(name)));
		this.edges.highlight(this.store.selection);
		if (this.view) this.drawEdges(this.view);
	}

	measure(trial, flows) {
		const width = trial.info.width_ms;
		const live = this.store.live && trial.info.keep;
		const lag = live ? Math.max(LAG, width) : 0;
		const news = live && trial.news[0]?.end <= trial.end - RATES; // Otherwise a snapshot has just come.
		const at = Math.max(0, Math.min(this.store.now, trial.info.length_ms || Infinity) - lag);
		const edge = Math.max(width, Math.floor(at / width) * width); // Whole bins: otherwise a second has one more than its rate is divided by.
		const span = Math.max(SHARES, width);
		const second = Math.max(RATES, width);
		const view = { info: trial.info, at, span, per: 1000 / Math.min(second, edge), perLately: 1000 / Math.min(span, edge), flows: new Map(), ratios: new Map(), first: new Map(), equal: new Map(), instances: new Map(), measured: 0 };
		for (const f of flows) {
			view.flows.set(f, news ? flowNews(trial, f, second) : sumFlow(trial, f, edge - second, edge));
			view.ratios.set(f, news ? flowNews(trial, f, span) : view.flows.get(f)); // Records of one request may come apart.
		}
		for (const i of trial.info.instances) {
			view.equal.set(i.service, (view.equal.get(i.service) ?? 0) + 1);
			const of = { now: new Map(), lately: new Map() };
			for (const f of flows) {
				for (const [sums, ms] of [[of.now, second], [of.lately, span]]) sums.set(f, { ...sumInstance(trial, i.name, f, edge - ms, edge), ...(news && instanceNews(trial, i.name, f, ms)) });
				const key = `${i.service} ${f}`;
				view.first.set(key, (view.first.get(key) ?? 0) + of.lately.get(f).first);
			}
			view.instances.set(i.name, of);
		}
		for (const f of flows) {
			if (f === "streams") continue;
			let attempts = 0;
			for (const of of view.instances.values()) attempts += of.lately.get(f).attempts * view.perLately;
			view.measured = Math.max(view.measured, attempts, view.flows.get(f).requests * view.per);
		}
		this.view = view;
		return view;
	}

	drawLately(trial, view) {
		const { info } = trial;
		setText(this.when, moment(info, view.at));
		const phase = info.phases.find((p) => p.from <= view.at && view.at < p.to);
		setText(this.phase, phase && info.phases.length > 1 ? phase.name : "");
		const last = trial.events.findLast((e) => e.at <= this.store.now && e.at > this.store.now - LATELY && e.kind !== "phase" && e.tone !== "note");
		const failed = last?.since?.find((s) => s.includes("failed")) ?? last?.since?.[0];
		const text = last ? last.text + (failed ? `; ${failed}` : "") : "";
		const idle = !last && this.store.ended === null && this.store.control?.load.running === false && ["No load: start one under ", el("a", { href: "#control" }, "Control"), "."];
		const key = last ? last.tone + text : String(Boolean(idle));
		if (this.lastKey === key) return;
		this.lastKey = key;
		this.lately.className = last?.tone ?? "quiet";
		this.lately.replaceChildren(...(last ? [icon(last.tone), " ", text] : idle || []));
	}

	// drawHops shows calls between instances as soon as there are any.
	drawHops(trial, view) {
		const known = this.callers.size;
		for (const [name, of] of view.instances) for (const sum of of.lately.values()) if (sum.calls) this.callers.add(name);
		const hops = this.callers.size > 0 || trial.info.loads.some((l) => l.hops?.length);
		if (hops === this.hops && known === this.callers.size) return;
		this.hops = hops;
		this.way.classList.toggle("hops", hops);
		this.place();
	}

	drawEdges(view) {
		const widest = widestOf(view.info, this.store.control, view.measured, this.hops);
		for (const [name, of] of view.instances) {
			for (const [flow, sum] of of.now) {
				const open = flow === "streams";
				const perSecond = open ? sum.open : sum.attempts * view.per;
				const scale = open ? Math.max(1, openStreams(view)) * 3 : widest;
				this.edges.show(`to ${name} ${flow}`, perSecond, scale, open ? `${number(sum.open)} open` : rate(perSecond), sum.failed * view.per);
			}
		}
		for (const [flow, sum] of view.flows) {
			const open = flow === "streams";
			const perSecond = open ? openStreams(view) : (sum.requests - sum.dropped) * view.per;
			const text = open ? `${number(perSecond)} open` : `${FLOW_NAMES[flow]} ${rate(perSecond)}`;
			this.edges.show(`in ${flow}`, perSecond, open ? perSecond * 3 : widest, text);
		}
		let calls = 0;
		for (const [name, of] of view.instances) {
			let made = 0;
			for (const sum of of.now.values()) made += sum.calls * view.per;
			this.edges.show(`call ${name}`, made, widest * 4, "");
			calls += made;
		}
		this.edges.show("calls", calls, widest * 4, `calls between instances, through nginx: ${rate(calls)}`);
	}

	select() {
		const { selection } = this.store;
		for (const [name, card] of this.cards) card.showSelected(selection?.instance === name);
		for (const box of [this.client, this.nginx]) for (const [flow, row] of box.rows) row.name.setAttribute("aria-pressed", String(selection?.flow === flow));
		this.edges.highlight(selection);
		this.soon();
	}

	// move lets the lines move while time does.
	move() {
		const replayed = performance.now() - this.steppedAt < MOVING;
		const flowing = [...this.view.flows.values()].some((sum) => sum.requests > 0) || openStreams(this.view) > 0;
		const on = flowing && (this.store.live ? this.store.receiving : replayed);
		this.edges.move(on);
		clearTimeout(this.halt);
		if (on && !this.store.live) this.halt = setTimeout(() => this.edges.move(false), MOVING);
	}
}

function openStreams(view) {
	let open = 0;
	for (const of of view.instances.values()) open += of.now.get("streams")?.open ?? 0;
	return open;
}

// flowBox has a line per title for each flow.
function flowBox(name, titles) {
	const about = el("p.small.quiet");
	const list = el("ul.flows");
	return { about, list, titles, rows: new Map(), element: el("div", { class: `box ${name.toLowerCase()}`, role: "group", "aria-label": name }, el("h3", name), about, list) };
}

function buildRows(box, flows, store) {
	box.rows.clear();
	for (const flow of flows) {
		const select = () => store.select(store.selection?.flow === flow ? null : { flow });
		const name = press("", select, { class: "flow " + flow, "aria-pressed": "false" }, swatch(flow), FLOW_NAMES[flow]);
		const lines = box.titles.map((title) => el("span.line", { title }));
		box.rows.set(flow, { name, lines, element: el("li", name, ...lines) });
	}
	box.list.replaceChildren(...[...box.rows.values()].map((r) => r.element));
}

function setRow(line, text, tone = "quiet") {
	setText(line, text || "\u00a0"); // An empty line keeps its height, so that boxes keep theirs.
	if (line.className !== "line " + tone) line.className = "line " + tone;
}

function drawClient(box, view) {
	const others = [...view.flows].filter(([, sum]) => sum.others).map(([flow, sum]) => `${FLOW_NAMES[flow]} ${rate(sum.others * view.per)}`);
	setText(box.about, others.length ? `others: ${others.join(", ")}` : "");
	box.about.title = "Requests that no load planned: of other programs, or the page's own";
	for (const [flow, row] of box.rows) {
		const sum = view.flows.get(flow);
		const sent = sum.requests - sum.dropped;
		setRow(row.lines[0], flow === "streams" ? `${number(openStreams(view))} open` : rate(sent * view.per), "big");
		const failed = [[sum.failed, "failed"], [sum.dropped, "never sent"]].filter(([n]) => n > 0).map(([n, what]) => `✕ ${rate(n * view.per)} ${what}`).join(" ");
		setRow(row.lines[1], failed || (sum.requests > 0 ? "no failures" : flow === "streams" ? "" : "no requests"), failed ? "bad" : "quiet");
		setRow(row.lines[2], sum.client_attempts > sent ? `×${ratio(view, flow, "client_attempts").toFixed(2)} attempts` : "", "warn");
	}
}

function drawNginx(box, info, view) {
	setText(box.about, `${info.workers ? plural(info.workers, "worker") : "? workers"}${info.mtls ? ", mutual TLS" : info.tls ? ", TLS" : ""}`);
	for (const [flow, row] of box.rows) {
		const sum = view.flows.get(flow);
		const amplification = ratio(view, flow, "nginx_attempts");
		setRow(row.lines[0], amplification > 0 ? `×${amplification.toFixed(2)} attempts` : "", amplification > 1.02 ? "warn" : "quiet");
		setRow(row.lines[1], sum.failed_attempts ? `✕ ${rate(sum.failed_attempts * view.per)} failed` : "", "bad");
		const [local, words] = sum.no_live_upstreams ? [sum.no_live_upstreams, "no live upstreams"] : [sum.local_replies, "local replies"];
		setRow(row.lines[2], local ? `✕ ${rate(local * view.per)} ${words}` : "", "bad");
	}
}

// ratio is per sent request.
function ratio(view, flow, name) {
	const sum = view.ratios.get(flow);
	const sent = sum.requests - sum.dropped;
	return sent > 0 ? sum[name] / sent : 0;
}

function drawCard(card, trial, view, hops) {
	const { name, service } = card.instance;
	const of = view.instances.get(name);
	card.showState(stateAt(trial, name, view.at));
	let inFlight = 0;
	let made = 0;
	let got = 0;
	for (const [flow, sum] of of.now) {
		if (flow !== "streams") inFlight += sum.open;
		made += sum.calls * view.per;
		got += sum.hops * view.per;
		const all = view.first.get(`${service} ${flow}`);
		card.showShare(flow, all ? of.lately.get(flow).first / all : null, 1 / view.equal.get(service), sum.attempts * view.per, sum.failed * view.per);
	}
	card.showLoad(inFlight, of.now.get("streams")?.open ?? 0, of.now.has("streams"));
	card.showCalls(hops ? made : null, got);
}
