// The metrics of the trials that are shown, and nginx's configuration with its edits marked.
import { el, scrollTable } from "./dom.js";
import { number, micros } from "./format.js";
import { currentExperiment } from "./experiment.js";

const COLUMNS = [
	["requests", (m) => number(m.requests)], ["failed", (m, a) => between(m.failed, a.failed)],
	["p50", (m, a) => time(m, a, "p50")], ["p90", (m, a) => time(m, a, "p90")], ["p99", (m, a) => time(m, a, "p99")], ["max", (m, a) => time(m, a, "max")],
	["attempts/req", (m) => (m.amplification === null ? "–" : String(+m.amplification.toFixed(3)))],
	["dup", (m) => number(m.duplicated)], ["in-doubt", (m, a) => between(m.in_doubt, a.in_doubt)],
	["first attempts", (m) => Object.entries(m.first_attempts ?? {}).map(([name, n]) => `${name.replace("whoami-", "#")} ${number(n)}`).join("  ")],
];

// between is a count and, if the machine may have caused a part of it, the least or the most that it is without that.
function between(measured, adjusted) {
	if (measured === adjusted) return number(measured);
	return `${number(measured)} (${adjusted < measured ? "≥" : "≤"}${number(adjusted)})`;
}

function time(m, a, name) {
	const [measured, adjusted] = [m.latency[name], a.latency[name]];
	const text = measured === null ? "–" : micros(measured / 1000);
	if (measured === null || adjusted === null || Math.abs(measured - adjusted) < measured / 10) return text;
	return `${text} (${adjusted < measured ? "≥" : "≤"}${micros(adjusted / 1000)})`;
}

export function mountMetrics(root, store) {
	const tables = el("div.metrics");
	const files = el("div.files");
	root.append(tables, files);
	let key = "";
	store.on("trials", () => {
		const current = currentExperiment(store);
		root.hidden = !store.trials.size;
		const now = JSON.stringify([store.shown, current?.index, !!current?.report, store.files.size]);
		if (now === key) return;
		key = now;
		tables.replaceChildren(...(current?.report ? metricTables(store, current) : []));
		files.replaceChildren(...configuration(store));
	});
}

function metricTables(store, { report }) {
	const shown = store.compared.map((t) => t.info).filter((i) => i.experiment === report.name);
	const all = shown.map((info) => {
		const variant = report.variants.find((v) => v.name === info.variant);
		const trial = variant?.trials[info.number - 1];
		return trial?.phases.length ? metricTable(report, variant, trial, info) : null;
	});
	if (!all.some(Boolean)) return [];
	const note = "From the reconciled records; latency of OK requests from the planned start. In parentheses: without what a busy machine may have caused.";
	return [el("h2", "Measured"), el("p.quiet.small", note), ...all.filter(Boolean)];
}

function metricTable(report, variant, trial, info) {
	const title = [report.variants.length > 1 ? variant.name : report.name, variant.description, report.trials > 1 ? `trial ${info.number} of ${report.trials}` : null].filter(Boolean).join(" · ");
	const rows = trial.phases.flatMap((phase) => phase.groups.map((g, i) => metricRow(phase, g, i)));
	return scrollTable(title, ["phase", "group", ...COLUMNS.map(([name]) => name)], el("tbody", ...rows), el("caption", title));
}

function metricRow(phase, group, i) {
	const m = group.metrics;
	const cells = COLUMNS.map(([name, of]) => el("td", { class: name === "failed" && m.failed ? "num bad" : "num" }, of(m, group.adjusted ?? m)));
	return el("tr", { class: i ? null : "first" }, i ? el("td") : el("th", { scope: "row" }, phase.name), el("td", group.name), ...cells);
}

function configuration(store) {
	const of = new Map(); // id → variants
	for (const { info } of store.compared) for (const id of info.config ?? []) of.set(id, [...(of.get(id) ?? []), info.variant]);
	const files = [...of].map(([id, variants]) => ({ file: store.files.get(id), variants })).filter((f) => f.file);
	if (!files.length) return [];
	const edited = (f) => f.file.lines.some((l) => l.mark);
	const [marked, others] = [files.filter(edited), files.filter((f) => !edited(f))];
	const note = marked.length ? "Edits are marked: + added, − removed." : "This experiment edits nothing.";
	const draw = (f) => configFile(f, edited(f), store.shown.length);
	return [el("h2", "nginx's configuration"), el("p.quiet.small", note), ...marked.map(draw),
		el("details.shipped", el("summary", `${others.length} files as shipped`), ...others.map(draw))];
}

function configFile({ file, variants }, edited, shown) {
	const name = [el("code", file.name)];
	if (variants.length < shown) name.push(el("span.quiet", " " + variants.join(", ")));
	if (edited) name.push(el("b", " edited"));
	const box = el("details.file", el("summary", ...name));
	const fill = () => {
		if (box.children.length === 1) box.append(fileLines(file, variants));
	};
	box.addEventListener("toggle", fill); // Some fifty files are not opened.
	if (edited) {
		box.open = true;
		fill();
	}
	return box;
}

function fileLines(file, variants) {
	const line = (l) => {
		const kind = { "+": "added", "-": "removed" }[l.mark];
		const sign = { "+": "+", "-": "−" }[l.mark] ?? " ";
		return el("span", { class: kind }, el("i.sign", sign), kind && el("span.sr", kind + ": "), l.text + "\n");
	};
	return el("pre", { tabindex: "0", role: "region", "aria-label": [file.name, ...variants].join(", ") }, ...file.lines.map(line));
}
