// Which experiment is looked at, and its verdict as a sign with a word.
import { el } from "./dom.js";

// VERDICTS are their signs and words; a sign is a shape of its own.
const VERDICTS = {
	passed: ["✓", "passed", "good"], failed: ["✕", "failed", "bad"], inconclusive: ["?", "inconclusive", "warn"],
	invalid: ["!", "invalid", "warn"], error: ["!", "error", "bad"], interrupted: ["■", "interrupted", "warn"], open: ["◌", "not judged yet", "quiet"], never: ["–", "not judged", "quiet"],
};

export function badge(verdict, large) {
	const [sign, word, tone] = VERDICTS[verdict] ?? VERDICTS.open;
	return el("span", { class: `badge ${tone}${large ? " large" : ""}`, "data-verdict": large ? verdict : null }, el("span.sign", { "aria-hidden": "true" }, sign), word);
}

// currentExperiment is the experiment of the trial in focus: {index, asked, report}; null of a live stack.
export function currentExperiment(store) {
	const name = store.trial?.info.experiment;
	const index = store.run?.experiments.findIndex((e) => e.name === name) ?? -1;
	const found = index < 0 ? 0 : index;
	const asked = store.run?.experiments[found];
	return asked ? { index: found, asked, report: store.reports.get(found) } : null;
}

// chooseTrial looks at a trial and those beside it.
export function chooseTrial(store, info) {
	const newest = Math.max(...store.trials.keys());
	if (store.live && info.trial !== newest && !store.over) store.setNow(store.now);
	store.setShown(store.beside(info), info.trial);
}
