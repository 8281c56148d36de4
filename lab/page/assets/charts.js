// The charts: a row per panel, in it a plot per trial that is shown and per flow, all on one time axis.
import { FLOWS } from "./store.js";
import { chartPanel, el, plotCell, press, setText } from "./dom.js";
import { FLOW_NAMES, moment } from "./format.js";
import { Columns } from "./columns.js";
import { forgetPalette } from "./paint.js";
import { Axis, Plot, UNSETTLED } from "./axis.js";
import { PANELS, paintCell } from "./panels.js";
import { marksPanel } from "./marks.js";
import { recoveries } from "./recovery.js";
import { Distribution } from "./distribution.js";

const REDRAW = 500; // milliseconds between two drawings
const SUM = 2000; // the same of the distribution, of a live stack: it sums all that the charts show

export function mountCharts(root, store) {
	return new Charts(root, store);
}

class Charts {
	constructor(root, store) {
		this.root = root;
		this.store = store;
		this.columns = new Map(); // trial → Columns
		this.rows = []; // {panel, cells}
		this.key = "";
		this.kind = "ok";
		this.timer = this.sum = this.drawn = 0;
		this.axis = new Axis(store, () => this.read());
		this.frame();
		this.watch();
	}

	frame() {
		this.moment = el("output.num");
		this.reset = press("Show all time", () => this.store.setZoom(null), { hidden: true });
		this.of = el("select", { "aria-label": "Share of", change: () => this.setKind(this.of.value) }, el("option", { value: "ok" }, "of OK responses"), el("option", { value: "first" }, "of first attempts"));
		this.body = el("div.panels");
		const hint = "Drag to zoom, arrow keys move the cursor, Escape resets.";
		const head = el("div.charts-head", el("h2", "Over time"), this.moment, el("span.quiet.small.hint", hint), this.reset);
		this.root.append(head, el("p.warn.small", { id: "late" }), this.body);
		this.root.addEventListener("keydown", (event) => this.key_(event));
		this.distribution = new Distribution(this.store, this.axis);
	}

	watch() {
		const { store } = this;
		store.on("data", () => this.schedule());
		store.on("trials", () => this.arrange());
		store.on("zoom selection", () => this.update());
		store.on("now", () => this.nowMoved());
		store.on("theme", () => this.fit());
		this.seen = new IntersectionObserver((entries) => {
			for (const e of entries) e.target.plot.setVisible(e.isIntersecting);
			this.read(); // Of what is out of sight it is not written.
		}, { rootMargin: "200px" });
		new ResizeObserver(() => this.fit()).observe(this.body);
	}

	// schedule draws soon, at most twice per second.
	schedule() {
		if (this.timer) return;
		this.timer = setTimeout(() => {
			this.timer = 0;
			this.arrange();
			this.update();
		}, Math.max(0, REDRAW - (performance.now() - this.drawn)));
	}

	// arrange builds the plots anew for other trials, flows or instances.
	arrange() {
		const trials = this.store.compared.filter((t) => t.last >= 0);
		const flows = FLOWS.filter((f) => trials.some((t) => t.total[f] || t.info.loads.some((l) => l.flow === f)));
		const key = JSON.stringify([trials.map((t) => [t.info.trial, t.info.begin, t.info.instances.map((i) => i.name)]), flows]);
		// The same trials are other objects after a lost connection.
		if (key === this.key && (!flows.length || trials.every((t) => this.columns.has(t)))) return;
		this.key = key;
		const focused = document.activeElement?.closest(".plot")?.getAttribute("aria-label");
		this.clear();
		if (!trials.length || !flows.length) return this.body.append(el("p.quiet", "Nothing yet: the charts begin with the first request."));
		for (const t of trials) this.columns.set(t, new Columns(t, flows, this.kind));
		for (const panel of [marksPanel, ...PANELS]) this.addPanel(panel, trials, flows);
		this.distribution.build(this.body, trials, flows, (t, f) => this.caption(t, f, trials));
		this.update();
		if (focused) this.plots().find((p) => p.getAttribute("aria-label") === focused)?.focus({ preventScroll: true });
	}

	plots() {
		return [...this.body.querySelectorAll(".plot")].filter((p) => p.checkVisibility());
	}

	clear() {
		this.seen.disconnect();
		for (const { cells } of this.rows) for (const c of cells) c.plot.destroy();
		this.rows = [];
		this.columns.clear();
		this.body.replaceChildren();
		this.distribution.clear();
	}

	addPanel(panel, trials, flows) {
		const grid = el("div.plots", { "data-columns": flows.length });
		const note = el("span.quiet.small", panel.id === "shares" && this.of, " " + panel.note);
		const row = { panel, cells: [], section: chartPanel(panel.id, panel.title, note, panel.legend, grid) };
		for (const t of trials) for (const f of flows) row.cells.push(this.addCell(panel, t, f, trials, grid));
		this.body.append(row.section);
		for (const c of row.cells) this.addPlot(panel, c, trials.length);
		this.rows.push(row);
	}

	addCell(panel, trial, flow, trials, grid) {
		const columns = this.columns.get(trial);
		const readout = el("dl.readout");
		const host = el("div.plot", { role: "slider", tabindex: "-1", "aria-label": `${panel.title}: ${this.plain(trial, flow, trials)}`, "aria-valuemin": "0", "aria-valuenow": "0" });
		const box = plotCell(flow, this.caption(trial, flow, trials), readout, host);
		grid.append(box);
		const settled = () => trial.end - (trial.info.keep ? UNSETTLED : 0);
		return {
			trial, flow, columns, host, box, readout, lanes: columns.lanes(), recoveries: [], values: [],
			get x() { return columns.x; },
			get column() { return columns.flows[flow]; }, // by name
			get shares() { return columns.shares[flow]; }, // by instance
			settled,
			rows: () => columns.span(this.axis.range(), settled()), // the first and the last that are shown
			part: (row) => trial.bins.get(trial.first + row)?.flows[flow] ?? {},
			chosen: (instance) => this.store.selection?.instance === instance,
		};
	}

	caption(trial, flow, trials) {
		const variant = trials.length > 1 && el("span.variant", variantName(trial.info, trials));
		return el("span.caption", el("i", { class: "line-" + flow, "aria-hidden": "true" }), el("b", { class: flow }, FLOW_NAMES[flow]), variant);
	}

	plain(trial, flow, trials) {
		return FLOW_NAMES[flow] + (trials.length > 1 ? ", " + variantName(trial.info, trials) : "");
	}

	addPlot(panel, cell, several) {
		const part = several > 1 ? 0.75 : 1;
		cell.height = () => panel.height?.(cell) ?? panel.rem * part;
		const paint = panel === marksPanel ? () => panel.paint(cell) : () => paintCell(panel, cell);
		cell.plot = new Plot(cell.host, this.axis, { y: panel.yOf?.(cell) ?? panel.y, info: () => cell.trial.info, paint });
		cell.host.plot = cell.plot;
		cell.host.addEventListener("focus", () => this.focused(cell));
		this.seen.observe(cell.host);
	}

	update() {
		this.drawn = performance.now();
		if (document.hidden || !this.rows.length) return;
		for (const c of this.columns.values()) c.update();
		for (const { panel, cells, section } of this.rows) {
			if (panel === marksPanel) for (const c of cells) c.recoveries = recoveries(this.store, c.trial, c.flow);
			panel.scale(cells);
			section.hidden = panel.empty?.() ?? false;
			for (const c of cells) {
				c.box.classList.toggle("dimmed", !!this.store.selection?.flow && this.store.selection.flow !== c.flow);
				c.host.style.height = c.height() + "rem";
				c.plot.draw();
			}
		}
		if (!this.store.stack) this.distribution.update();
		else this.sum ||= setTimeout(() => { this.sum = 0; this.distribution.update(); }, SUM);
		this.stop(this.plots().find((p) => p.tabIndex === 0) ?? this.plots()[0]);
		this.reset.hidden = !this.store.zoom;
		if (this.axis.hovered) this.axis.setCursor(this.axis.hovered.underMouse()); // Data has moved below it.
		this.read();
	}

	nowMoved() {
		if (this.store.live) return; // Data comes with it.
		this.axis.showNow();
		if (this.axis.cursor === null) this.read();
	}

	// read writes the exact values at the cursor, or now.
	read() {
		const at = this.axis.at();
		const { trial } = this.store;
		if (!trial) return;
		setText(this.moment, (this.axis.cursor === null ? "now " : "cursor ") + moment(trial.info, at));
		for (const { panel, cells } of this.rows) for (const c of cells) if (c.plot.visible) this.readCell(panel, c, at);
	}

	readCell(panel, cell, at) {
		const row = at < cell.settled() ? cell.columns.row(at) : -1;
		const words = row < 0 && panel !== marksPanel ? [] : panel.read(cell, row);
		while (cell.values.length < words.length) {
			const pair = [el("dt"), el("dd")];
			cell.values.push(pair);
			cell.readout.append(el("div", ...pair));
		}
		cell.values.forEach(([dt, dd], i) => {
			dt.parentNode.hidden = i >= words.length;
			if (i < words.length) setText(dt, words[i][0]), setText(dd, words[i][1]);
		});
		if (document.activeElement === cell.host) this.describe(cell, at, words);
	}

	// describe is for screen readers.
	describe(cell, at, words) {
		const [from, to] = this.axis.range();
		for (const [name, v] of [["min", from], ["max", to], ["now", at]]) cell.host.setAttribute("aria-value" + name, Math.round(v));
		cell.host.setAttribute("aria-valuetext", `${moment(cell.trial.info, at)}: ${words.map((w) => w.join(" ")).join(", ")}`);
	}

	// focused gives one plot the only tab stop: arrow keys lead to the others.
	focused(cell) {
		this.stop(cell.host);
		this.readCell(this.rows.find((r) => r.cells.includes(cell)).panel, cell, this.axis.at());
	}

	// stop makes a plot the tab stop of all: one that is seen, as the first row is hidden until something was done.
	stop(host) {
		for (const p of this.body.querySelectorAll('.plot[tabindex="0"]')) if (p !== host) p.tabIndex = -1;
		if (host) host.tabIndex = 0;
	}

	key_(event) {
		if (event.key === "Escape" && (this.store.zoom || this.axis.cursor !== null)) {
			this.axis.setCursor(null);
			if (this.store.zoom) this.store.setZoom(null);
			return;
		}
		const host = event.target.closest(".plot");
		if (!host?.plot || event.ctrlKey || event.metaKey || event.altKey) return;
		const [from, to] = this.axis.range();
		const step = host.plot.o.info().width_ms * (event.shiftKey ? 10 : 1);
		const at = this.axis.at();
		const go = { ArrowLeft: at - step, ArrowRight: at + step, Home: from, End: to - 1 }[event.key];
		if (go !== undefined) {
			this.axis.hovered = null; // A mouse that rests there moves it no more.
			this.axis.setCursor(Math.max(from, Math.min(to - 1, go)));
		} else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.neighbor(host, event.key === "ArrowDown" ? 1 : -1);
		else if (event.key === "+" || event.key === "-") this.zoomBy(event.key === "+" ? 0.5 : 2);
		else return;
		event.preventDefault();
		event.stopPropagation();
	}

	neighbor(host, by) {
		const all = this.plots();
		all[all.indexOf(host) + by]?.focus();
	}

	zoomBy(factor) {
		const [from, to] = this.axis.range();
		const at = Math.max(from, Math.min(to, this.axis.at()));
		const half = ((to - from) * factor) / 2;
		const longest = this.store.length(this.store.focus);
		this.store.setZoom(factor > 1 && half * 2 >= longest ? null : [Math.max(0, at - half), at + half]);
	}

	setKind(kind) {
		this.kind = kind;
		for (const c of this.columns.values()) c.kind = kind;
		this.update();
	}

	// fit draws anew if the size of plots or text has changed.
	fit() {
		forgetPalette();
		for (const { cells } of this.rows) for (const c of cells) c.plot.draw();
		this.update(); // Heights depend on what fits.
		this.distribution.fit();
	}
}

// variantName is how trials differ that are shown beside each other.
function variantName(info, trials) {
	const several = trials.some((t) => t.info.number !== info.number);
	return info.variant + (several ? ", trial " + info.number : "");
}
