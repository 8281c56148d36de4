// One instance in the picture: its state from four sides, and what can be done to it.
import { el, press, setText } from "./dom.js";
import { FLOW_NAMES, number, percent, plural, rate } from "./format.js";
import { icon, swatch } from "./icons.js";
import { actionRow } from "./control.js";

export function stateWords(state, over) {
	return state.replace("_", " ") + (over ? " over " + FLOW_NAMES[over] : "");
}

const STATE_TONES = { starting: "warn", paused: "warn", gone: "bad", not_serving: "warn", no_response: "bad", failing: "bad", not_chosen: "warn", unknown: "quiet" };

export class Card {
	constructor(store, instance, flows) {
		this.instance = instance;
		this.states = { process: sideCell("Process"), health: sideCell("Own health"), nginx: sideCell("nginx", "inferred") };
		this.name = press(instance.name, () => this.toggle(store), { class: "name", "aria-pressed": "false" });
		this.load = el("span.load");
		this.shares = new Map(flows.filter((f) => f !== "streams").map((f) => [f, shareRow(f)]));
		this.calls = el("p.calls.small.quiet", { hidden: true });
		this.element = el("li.instance", { "data-instance": instance.name },
			el("div.top", this.name, this.load),
			el("dl.states", ...Object.values(this.states).map((s) => s.element)),
			el("div.shares", ...[...this.shares.values()].map((s) => s.element)),
			this.calls, actionRow(store, instance.name));
		this.element.addEventListener("click", (event) => event.target.closest("button") || this.toggle(store));
	}

	toggle(store) {
		store.select(store.selection?.instance === this.instance.name ? null : { instance: this.instance.name });
	}

	// showState sets three of four sides.
	showState(state) {
		Object.assign(this.element.dataset, { processState: state.process, health: state.health, nginx: state.nginx });
		for (const [side, cell] of Object.entries(this.states)) {
			const value = state[side] || "unknown";
			const words = stateWords(value);
			if (cell.hint) setText(cell.hint, state.over ? ` over ${FLOW_NAMES[state.over]}` : " inferred"); // Beside the title: beside the state it has no room.
			if (cell.words !== words) {
				cell.words = words;
				cell.dd.className = STATE_TONES[value] ?? "";
				cell.dd.replaceChildren(icon(value), words);
			}
		}
		const why = `Inferred from nginx's access log: ${state.why || "no attempts lately"}.`;
		if (this.states.nginx.element.title !== why) this.states.nginx.element.title = why;
	}

	// showShare sets the fourth: its part of the first attempts at its service, null if there were none.
	showShare(flow, part, equal, perSecond, failed) {
		const row = this.shares.get(flow);
		if (!row) return;
		const full = Math.min(1, 2 * equal);
		row.element.dataset[flow === "http" ? "shareHttp" : "shareGrpc"] = part ?? "";
		row.fill.style.setProperty("width", 100 * Math.min(1, (part ?? 0) / full) + "%");
		row.mark.style.setProperty("left", (100 * equal) / full + "%");
		setText(row.part, part === null ? "–" : percent(part));
		setText(row.rate, rate(perSecond));
		setText(row.failed, failed > 0 ? `✕ ${rate(failed)}` : "");
	}

	showLoad(inFlight, open, streams) {
		setText(this.load, `${number(inFlight)} in flight` + (streams ? `, ${plural(open, "stream").replace(" ", "\u00a0")}` : ""));
	}

	showCalls(made, got) {
		this.calls.hidden = made === null;
		if (made !== null) setText(this.calls, `Calls others ${rate(made)} · called by others ${rate(got)}`);
	}

	showSelected(on) {
		this.name.setAttribute("aria-pressed", String(on));
		this.element.classList.toggle("selected", on);
	}
}

function sideCell(title, hint = null) {
	const dd = el("dd");
	const note = hint && el("span.hint", ` ${hint}`);
	return { words: null, dd, hint: note, element: el("div", el("dt", title, note), dd) };
}

function shareRow(flow) {
	const fill = el("span", { class: "fill " + flow });
	const mark = el("span.mark");
	const part = el("span.num");
	const perSecond = el("span.num.rate");
	const failed = el("span.num.rate.bad");
	const label = el("span", { class: "flow " + flow }, swatch(flow), FLOW_NAMES[flow]);
	return { fill, mark, part, rate: perSecond, failed, element: el("div.share", label, el("span.bar", { "aria-hidden": "true" }, fill, mark), part, perSecond, failed) };
}
