// The requests that failed, each with a way to its story.
import { el, press, scrollTable, setRows, setText } from "./dom.js";
import { failedOf } from "./store.js";
import { number, plural, micros, moment, exactly, flowName } from "./format.js";

const STEP = 50; // rows that are shown at once
const WORDS = { instance_error: "error response of the instance", nginx_error: "error response of nginx", incomplete: "no whole response" };

export function mountFailures(root, store) {
	const view = { most: STEP, key: "", rows: new Map() };
	const title = el("h2", "Failed requests");
	const note = el("p.quiet.small");
	const body = el("tbody");
	const scroll = scrollTable("Failed requests", ["at", "flow", "outcome", "code", "instance", "latency", "story"], body);
	const more = press("Show more", () => update((view.most += 4 * STEP)));
	root.append(el("div.failures", title, note, scroll, more));
	const update = () => {
		setText(note, noteOn(store));
		const key = [store.shown, view.most, ...store.compared.map((t) => [t.info.begin, t.failures.length, t.failures.at(-1)?.id])].join();
		if (key === view.key) return;
		view.key = key;
		const all = failuresOf(store);
		scroll.hidden = !all.length;
		more.hidden = all.length <= view.most;
		const before = view.rows;
		view.rows = new Map(all.slice(0, view.most).map((x) => [rowKey(store, x), before.get(rowKey(store, x)) ?? failureRow(store, x)]));
		setRows(body, [...view.rows.values()]);
	};
	store.on("trials data", update);
}

// failuresOf are those of the shown trials: of a live stack the newest first, of a run by time.
function failuresOf(store) {
	const all = store.compared.flatMap((trial) => trial.failures.map((f) => ({ f, trial })));
	return all.sort((a, b) => (store.stack ? b.f.at - a.f.at : a.f.at - b.f.at));
}

function noteOn(store) {
	const count = store.compared.reduce((sum, t) => sum + t.failures.length, 0);
	if (!count) return "None.";
	const kept = store.stack ? "The newest 200 are kept." : "";
	const failed = store.compared.flatMap((t) => Object.values(t.total)).reduce((sum, flow) => sum + failedOf(flow), 0);
	if (!kept && failed > count) return [`The first ${number(count)} of ${number(failed)} requests.`, store.omitted?.text].filter(Boolean).join(" ");
	return [`${plural(count, "request")}.`, kept, store.omitted?.text].filter(Boolean).join(" ");
}

// rowKey is the same for rows with the same content.
function rowKey(store, { f, trial }) {
	return [trial.info.begin, f.id, store.shown.length > 1].join();
}

function failureRow(store, { f, trial }) {
	return el("tr", { "data-row": rowKey(store, { f, trial }) },
		el("td.num", store.stack ? moment(trial.info, f.at) : exactly(f.at)), el("td", flowIn(store, f.flow, trial)),
		el("td", el("span.bad", { "aria-hidden": "true" }, "✕ "), WORDS[f.outcome] ?? f.outcome),
		el("td", [f.code, f.reason].filter(Boolean).join(", ") || "–"), el("td", f.instance || "–"),
		el("td.num", micros(f.latency_us)),
		storyCell(store, trial, f.id));
}

// flowIn is a flow's name, with its variant if there are several.
export function flowIn(store, flow, trial) {
	return flowName(flow) + (store.shown.length > 1 ? ` (${trial.info.variant})` : "");
}

export function storyCell(store, trial, id) {
	return el("td", press("story", () => store.openStory(trial.info.trial, id), { class: "small", "data-id": id, "aria-label": `Story of ${id}` }));
}
