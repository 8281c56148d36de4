// The metrics of the trials that are shown, and nginx's configuration with its edits marked.
import { el, scrollTable } from "./dom.js";
import { number, micros } from "./format.js";
import { currentExperiment } from "./experiment.js";

const COLUMNS = [
	["requests", (m) => number(m.requests)], ["failed", (m, a) => between(m.failed, a.failed)],
	...["p50", "p90", "p99", "max"].map((name) => [name, (m, a) => time(m.latency[name], a.latency[name])]),
	["attempts/req", (m) => (m.amplification === null ? "–" : String(+m.amplification.toFixed(3)))],
	["dup", (m) => number(m.duplicated)], ["in-doubt", (m, a) => between(m.in_doubt, a.in_doubt)],
	["first attempts", (m) => Object.entries(m.first_attempts ?? {}).map(([name, n]) => `${name.replace("whoami-", "#")}\u00a0${number(n)}`).join(" ")],
];

const AROUND = 3; // lines that are shown before and after a marked one

// between is a count and, if the machine may have caused a part of it, the least or the most that it is without that.
function between(measured, adjusted, text = number) {
	return text(measured) + (measured === adjusted ? "" : ` (${adjusted < measured ? "≥" : "≤"}${text(adjusted)})`);
}

function time(measured, adjusted) {
	if (measured === null) return "–";
	const same = adjusted === null || Math.abs(measured - adjusted) < measured / 10;
	return between(measured, same ? measured : adjusted, (ns) => micros(ns / 1000));
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
	const note = "From the reconciled records; latency of OK requests from the planned start (the terminal's is from the actual start). In parentheses: without what a busy machine may have caused.";
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

// fileLines are the lines of a file. Where some are marked, those far from them are folded.
function fileLines({ name, lines }, variants) {
	const marked = (l) => l.mark;
	const near = (i) => !lines.some(marked) || lines.slice(Math.max(0, i - AROUND), i + AROUND + 1).some(marked);
	const box = el("pre", { tabindex: "0", role: "region", "aria-label": [name, ...variants].join(", ") });
	let into = box;
	lines.forEach((l, i) => {
		if (near(i)) into = box;
		else if (into === box) box.append((into = el("details", el("summary", "… as shipped"))));
		into.append(fileLine(l));
	});
	return box;
}

function fileLine({ text, mark }) {
	const kind = { "+": "added", "-": "removed" }[mark];
	const sign = { "+": "+", "-": "−" }[mark] ?? " ";
	return el("span", { class: kind }, el("i.sign", sign), kind && el("span.sr", kind + ": "), text + "\n");
}
