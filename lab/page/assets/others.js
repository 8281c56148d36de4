// The requests that did not fail and whose stories a file has: retried, slow and ordinary ones.
import { el, scrollTable, setText } from "./dom.js";
import { number, micros, exactly } from "./format.js";
import { flowIn, storyCell } from "./failures.js";

const MOST_OTHERS = 100; // the most that are listed

export function mountOthers(root, store) {
	if (!store.file) return;
	const body = el("tbody");
	const title = el("summary");
	const part = el("details.failures.others", { hidden: true }, title,
		scrollTable("Other requests", ["at", "flow", "took", "nginx attempts", "story"], body));
	root.append(part);
	let key = "";
	const update = () => {
		const next = [store.shown, store.stories.size].join();
		if (next === key) return;
		key = next;
		const all = othersOf(store);
		part.hidden = !all.length;
		setText(title, `Other requests: ${number(all.length)} stories of retried, slow and ordinary ones` + (all.length > MOST_OTHERS ? `; the first ${MOST_OTHERS}` : ""));
		body.replaceChildren(...all.slice(0, MOST_OTHERS).map((o) => otherRow(store, o)));
	};
	store.on("trials data", update);
}

// othersOf are the most often retried first, then the slowest.
function othersOf(store) {
	const all = [...store.stories.values()].filter((s) => !s.failed && store.shown.includes(s.trial)).map((s) => ({ s, ...attemptsIn(s.trace.spans) }));
	return all.sort((a, b) => b.attempts - b.entries - (a.attempts - a.entries) || b.s.took_us - a.s.took_us);
}

// attemptsIn counts nginx's attempts and access-log entries, those of hops included.
function attemptsIn(spans, sum = { attempts: 0, entries: 0 }) {
	for (const span of spans ?? []) {
		if (span.kind === "attempt") sum.attempts++;
		if (span.kind === "nginx") sum.entries++;
		attemptsIn(span.children, sum);
	}
	return sum;
}

function otherRow(store, { s, attempts, entries }) {
	const trial = store.trials.get(s.trial);
	return el("tr",
		el("td.num", exactly(Date.parse(s.begin) - Date.parse(trial.info.begin))),
		el("td", flowIn(store, s.protocol, trial)), el("td.num", micros(s.took_us)),
		el("td.num", attempts > entries ? `${attempts} for ${entries}` : String(attempts)),
		storyCell(store, trial, s.id));
}
