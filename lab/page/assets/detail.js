// The instance that is selected, in numbers.
import { el, press, setText } from "./dom.js";
import { FLOW_NAMES, moment, number, percent, rate } from "./format.js";
import { icon } from "./icons.js";
import { stateAt } from "./store.js";
import { stateWords } from "./card.js";
import { actionRow } from "./control.js";

const DETAIL_COLUMNS = ["First attempts", "Share", "Attempts", "Failed", "OK responses", "Executions", "Open"];
const DETAIL_EVENTS = 6;

export class Detail {
	constructor(store) {
		this.store = store;
		this.title = el("h3");
		this.about = el("p.small");
		this.body = el("tbody");
		this.events = el("ol.newest");
		this.actions = el("div");
		const head = el("tr", el("th", { scope: "col" }, "Flow"), ...DETAIL_COLUMNS.map((c) => el("th.num", { scope: "col" }, c)));
		this.element = el("section.detail.card", { hidden: true, "aria-label": "The selected instance" },
			el("div.row", this.title, press("Close", () => store.select(null))),
			this.about, this.actions,
			el("div.scroll", { tabindex: "0", role: "region", "aria-label": "Numbers per flow" }, el("table", el("thead", head), this.body)),
			this.events);
	}

	// show fills it from what the picture measured.
	show(trial, instance, { at, span, perLately, first, instances }) {
		this.element.hidden = !instance;
		if (!instance) return;
		const { lately } = instances.get(instance.name);
		const flows = [...lately.keys()];
		const key = [instance.name, ...flows].join();
		if (this.key !== key) {
			this.key = key;
			setText(this.title, instance.name);
			this.actions.replaceChildren(actionRow(this.store, instance.name));
			this.body.replaceChildren(...flows.map((f) => el("tr", el("th", { scope: "row", class: f }, FLOW_NAMES[f]), ...DETAIL_COLUMNS.map(() => el("td.num")))));
		}
		const state = stateAt(trial, instance.name, at);
		const why = state.why ? ` (${state.why})` : "";
		setText(this.about, `Process ${stateWords(state.process)}, own health ${stateWords(state.health)}, nginx, inferred: ${stateWords(state.nginx, state.over)}${why}. HTTP at ${instance.http}, gRPC at ${instance.grpc}. The last ${span / 1000} s:`);
		flows.forEach((flow, i) => {
			const sum = lately.get(flow);
			const per = (n) => rate(n * perLately);
			const all = first.get(`${instance.service} ${flow}`);
			const share = all ? percent(sum.first / all) : "–";
			const values = [per(sum.first), share, per(sum.attempts), number(sum.failed), per(sum.ok), per(sum.arrivals), number(sum.open)];
			values.forEach((v, c) => setText(this.body.rows[i].cells[c + 1], v));
		});
		this.newest(trial, instance, at);
	}

	newest(trial, instance, at) {
		const events = trial.events.filter((e) => e.process === instance.name && e.at <= at).slice(-DETAIL_EVENTS).reverse();
		const key = [trial.info.trial, trial.info.begin, instance.name, ...events.map((e) => [e.n, e.since?.length])].join();
		if (this.newestKey === key) return; // What a reader has marked stays so.
		this.newestKey = key;
		this.events.replaceChildren(...events.map((e) => el("li.small", el("span.when", moment(trial.info, e.at)), icon(e.tone), " ", [e.text, ...(e.since ?? [])].join("; "))));
	}
}
