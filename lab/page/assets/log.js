// What happened, in words, the newest first.
import { el, press, setRows } from "./dom.js";
import { moment } from "./format.js";
import { icon } from "./icons.js";

const LOG_ROWS = 100; // shown at first, and more with each press of a button

export function mountLog(root, store) {
	const log = new Log(root, store);
	store.on("trials data now selection", () => log.draw());
	log.draw();
}

class Log {
	constructor(root, store) {
		this.store = store;
		this.most = LOG_ROWS;
		this.rows = new Map(); // event → element
		const again = () => this.draw();
		this.process = el("select", { "aria-label": "Of which process", change: again });
		this.kind = el("select", { "aria-label": "Of which kind", change: again });
		this.list = el("ol.events");
		this.none = el("p.small.quiet", "Nothing yet.");
		this.more = press("Show more", () => this.draw((this.most += LOG_ROWS)), { hidden: true });
		root.append(el("div.row.head", el("h2", "What happened"), el("div.row.filters", this.process, this.kind)), this.none, this.list, this.more);
	}

	draw() {
		const { trial } = this.store;
		if (!trial) return;
		setChoices(this.process, "all processes", [...trial.info.instances.map((i) => i.name), "nginx"]);
		setChoices(this.kind, "everything", [...new Set(trial.events.map((e) => e.kind))].sort());
		const wanted = (e) => (!this.process.value || e.process === this.process.value) && (!this.kind.value || e.kind === this.kind.value);
		const events = trial.events.filter(wanted).sort((a, b) => b.at - a.at || b.n - a.n);
		this.none.hidden = events.length > 0;
		this.more.hidden = events.length <= this.most;
		const before = this.rows;
		this.rows = new Map(events.slice(0, this.most).map((e) => [e, before.get(e) ?? this.row(trial, e)]));
		setRows(this.list, [...this.rows.values()]);
		for (const [e, element] of this.rows) {
			element.classList.toggle("future", !this.store.live && e.at > this.store.now);
			element.classList.toggle("of", Boolean(e.process) && e.process === this.store.selection?.instance);
		}
	}

	// row is of an event. One that is sent again with more text is another here.
	row(trial, e) {
		const live = Boolean(trial.info.keep);
		const go = () => (live ? this.store.select(e.process ? { instance: e.process } : null) : this.store.setNow(e.at));
		const tone = el("span", { class: "tone " + e.tone }, icon(e.tone), e.tone === "bad" ? "problem" : e.tone);
		const jump = press("", go, { class: "jump", title: live ? "Highlight the process" : "Look at this moment" }, el("span.when", moment(trial.info, e.at)), tone, el("span.text", e.text));
		const since = e.since?.length && el("ul.since.small", ...e.since.map((s) => el("li", s)));
		return el("li", { class: "event " + e.tone, "data-event-kind": e.kind, "data-row": e.n }, jump, since || null);
	}
}

// setChoices sets the options of a select, and keeps what is chosen.
function setChoices(select, all, values) {
	const key = values.join(" ");
	if (select.dataset.key === key) return;
	const { value } = select;
	select.dataset.key = key;
	select.replaceChildren(el("option", { value: "" }, all), ...values.map((v) => el("option", { value: v }, v)));
	select.value = values.includes(value) ? value : "";
}
