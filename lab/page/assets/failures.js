// The requests that failed, each with a way to its story.
import { el, scrollTable, setText } from "./dom.js";
import { failedOf } from "./store.js";
import { number, micros, moment, flowName } from "./format.js";

const STEP = 50; // rows that are shown at once
const WORDS = { instance_error: "error response of the instance", nginx_error: "error response of nginx", incomplete: "no whole response", dropped: "never sent" };

// mountFailures appends the list to a section.
export function mountFailures(root, store) {
	const view = { most: STEP, key: "" };
	const title = el("h2", { text: "Failed requests" });
	const note = el("p", { class: "quiet small" });
	const body = el("tbody");
	const scroll = scrollTable("Failed requests", ["at", "flow", "outcome", "code", "instance", "latency", "story"], body);
	const more = el("button", { type: "button", text: "Show more", click: () => update((view.most += 4 * STEP)) });
	root.append(el("div", { class: "failures" }, title, note, scroll, more));
	const update = () => {
		const all = failuresOf(store);
		const key = [store.shown, all.length, all.at(-1)?.f.id, view.most].join();
		if (key === view.key) return;
		view.key = key;
		setText(note, noteOn(store, all.length));
		scroll.hidden = !all.length;
		more.hidden = all.length <= view.most;
		body.replaceChildren(...all.slice(0, view.most).map((x) => failureRow(store, x)));
	};
	store.on("trials", update);
	store.on("data", update);
}

// failuresOf are those of the shown trials: of a live stack the newest first, of a run by time.
function failuresOf(store) {
	const live = store.hello?.source === "live";
	const all = store.shown.flatMap((n) => (store.trials.get(n)?.failures ?? []).map((f) => ({ f, trial: store.trials.get(n) })));
	return all.sort((a, b) => (live ? b.f.at - a.f.at : a.f.at - b.f.at));
}

function noteOn(store, count) {
	if (!count) return "None.";
	const kept = store.hello?.source === "live" ? "The newest 200 are kept." : "";
	const trials = store.shown.map((n) => store.trials.get(n)).filter(Boolean);
	const failed = trials.flatMap((t) => Object.values(t.total)).reduce((sum, flow) => sum + failedOf(flow), 0);
	if (!kept && failed > count) return [`The first ${number(count)} of ${number(failed)} requests.`, store.omitted?.text].filter(Boolean).join(" ");
	return [`${number(count)} ${count === 1 ? "request" : "requests"}.`, kept, store.omitted?.text].filter(Boolean).join(" ");
}

function failureRow(store, { f, trial }) {
	const open = () => store.openStory(trial.info.trial, f.id);
	const at = trial.info.length_ms ? `+${(f.at / 1000).toFixed(3)} s` : moment(trial.info, f.at);
	const variant = store.shown.length > 1 ? ` (${trial.info.variant})` : "";
	return el("tr", {},
		el("td", { class: "num", text: at }), el("td", { text: flowName(f.flow) + variant }),
		el("td", {}, el("span", { class: "bad", "aria-hidden": "true", text: "✕ " }), WORDS[f.outcome] ?? f.outcome),
		el("td", { text: [f.code, f.reason].filter(Boolean).join(", ") || "–" }), el("td", { text: f.instance || "–" }),
		el("td", { class: "num", text: micros(f.latency_us) }),
		el("td", {}, el("button", { type: "button", class: "small", "data-id": f.id, click: open, "aria-label": `Story of ${f.id}`, text: "story" })));
}
