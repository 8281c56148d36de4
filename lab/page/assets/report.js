// What an experiment asked and what came of it; below the charts its metrics and nginx's configuration.
import { el, press } from "./dom.js";
import { plural } from "./format.js";
import { badge, currentExperiment, chooseTrial } from "./experiment.js";
import { mountMetrics } from "./metrics.js";
import { mountFailures } from "./failures.js";
import { mountOthers } from "./others.js";

const FIRST_REASONS = 3; // against the measurements; more are one click away: a busy machine has dozens

export function mountReport(root, store, details) {
	let shown = "";
	const update = () => {
		const current = currentExperiment(store);
		root.hidden = !current;
		const key = JSON.stringify([current?.index, !!current?.report, store.reports.size, store.trial?.info.number]);
		if (key === shown) return;
		shown = key;
		const focused = root.contains(document.activeElement);
		root.replaceChildren();
		if (current) fillTop(root, store, current);
		if (focused) root.querySelector("[aria-current]")?.focus();
	};
	store.on("trials", update);
	update();
	mountMetrics(details, store);
	mountFailures(details, store);
	mountOthers(details, store);
}

function fillTop(root, store, { index, asked, report }) {
	if (store.run.experiments.length > 1) root.append(experimentList(store, index));
	const result = [badge(report?.verdict ?? "open", true), report?.answer && el("p.answer", report.answer)];
	root.append(el("p.quiet.name", asked.name), el("h2", asked.question), el("div.result", ...result),
		...problems(store, report), expectations(asked, report));
}

function experimentList(store, current) {
	const entry = (e, i) => {
		const first = [...store.trials.values()].find((t) => t.info.experiment === e.name);
		const verdict = store.reports.get(i)?.verdict ?? "open";
		const choose = () => chooseTrial(store, first.info);
		return el("li", press("", choose, { disabled: !first, "aria-current": i === current ? "true" : null }, badge(verdict), e.name));
	};
	return el("nav.experiments", { "aria-label": "Experiments of the run" }, el("ul", ...store.run.experiments.map(entry)));
}

function outcomeOf(report) {
	const all = report?.expectations ?? [];
	if (!all.length) return report ? "Expectations: not judged" : "Expectations";
	const passed = all.filter((x) => x.passed && !x.inconclusive).length;
	return `${passed} of ${plural(all.length, "expectation")} passed`;
}

// expectations lists each with what was measured, in all variants.
function expectations(asked, report) {
	const rows = new Map();
	for (const text of report?.expectations.length ? [] : asked.expect ?? []) rows.set(text, []);
	for (const x of report?.expectations ?? []) rows.set(x.text, [...(rows.get(x.text) ?? []), x]);
	const all = [...rows].map(([text, results]) => ({ text, results, bad: results.some((r) => !r.passed) }));
	all.sort((a, b) => b.bad - a.bad); // Stable: otherwise in the order of the file.
	const open = all.some((row) => row.bad); // What passed is one click away: the picture is to be seen first.
	return el("details.expectations", { open }, el("summary", outcomeOf(report)), el("ul", ...all.map((row) => expectation(row, report ? "never" : "open"))));
}

function expectation({ text, results }, without) {
	if (!results.length) return el("li", badge(without), el("div", el("code", text)));
	const verdicts = results.map((x) => (x.inconclusive ? "inconclusive" : x.passed ? "passed" : "failed"));
	const worst = ["failed", "inconclusive", "passed"].find((v) => verdicts.includes(v));
	const values = results.map((x, i) => {
		const own = verdicts.every((v) => v === verdicts[0]) ? null : badge(verdicts[i]);
		return el("span.measured", own, x.variant && x.variant !== "only" && el("b", x.variant + " "), measuredIn(x));
	});
	return el("li", { class: worst }, badge(worst), el("div", el("code", text), el("p", ...values)));
}

// measuredIn is what an expectation read, or why it is inconclusive.
function measuredIn(x) {
	const trials = x.trials > 1 ? `; passed in ${x.held} of ${x.trials} trials` : "";
	return [x.error, x.error ? x.size : x.size || x.measured].filter(Boolean).join("; ") + trials;
}

// problems are the reasons against the measurements: they matter more than any chart.
function problems(store, report) {
	if (!report) return [];
	const lines = (report.reasons ?? []).map((text) => [text]);
	const found = [];
	for (const v of report.variants) {
		v.trials.forEach((t, i) => {
			const of = (report.variants.length > 1 ? v.name : "") + (report.trials > 1 ? ` trial ${i + 1}` : "");
			for (const text of t.reasons ?? []) lines.push([text, of]);
			if (t.discrepancy_count) found.push(discrepancies(store, report, v, t, i + 1, of));
		});
	}
	if (!lines.length && !found.length) return [];
	const list = (some) => el("ul", ...some.map(([text, of]) => el("li", of && el("b", of + ": "), text)));
	const rest = lines.slice(FIRST_REASONS);
	const more = rest.length > 0 && el("details", el("summary", `${rest.length} more`), list(rest));
	return [el("div.problems", el("h3", report.verdict === "invalid" ? "Why it says nothing about nginx" : "Problems"), list(lines.slice(0, FIRST_REASONS)), more, ...found)];
}

function discrepancies(store, report, variant, trial, number, of) {
	const info = [...store.trials.values()].map((t) => t.info).find((i) => i.experiment === report.name && i.variant === variant.name && i.number === number);
	const row = (d) => el("li",
		el("p", el("b", `Rule ${d.rule}: `), d.what),
		el("dl.sources", ...[["client", d.client], ["nginx", d.nginx], ["instances", d.instances]].map(([k, v]) => el("div", el("dt", k), el("dd", v)))),
		info && press("Story of " + d.id, () => store.openStory(info.trial, d.id)));
	return el("details", el("summary", (of ? of + ": " : "") + plural(trial.discrepancy_count, "discrepancy", "discrepancies")), el("ul.discrepancies", ...trial.discrepancies.map(row)));
}
