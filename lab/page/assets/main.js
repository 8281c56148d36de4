// Puts the page together: its views, header, notices, keys.
import { Store } from "./store.js";
import { connect } from "./connect.js";
import { el, press } from "./dom.js";
import { micros, number, clock } from "./format.js";
import { mountCharts } from "./charts.js";
import { mountReport } from "./report.js";
import { mountReplay } from "./replay.js";
import { mountControl } from "./control.js";
import { mountLog } from "./log.js";
import { mountPicture } from "./picture.js";
import { mountStory } from "./story.js";

const LATE_SPAN = 10000; // milliseconds of a live stack that a warning is about
const THEMES = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" };
const STORED_THEME = "trivet-theme";
const KEYS = [
	["Space", "play or pause a replay"], ["[ and ]", "slower, faster"], ["L", "follow the newest data"],
	["← and → in a chart or on the slider", "move the cursor, with Shift further"], ["↑ and ↓ in a chart", "the chart above or below"],
	["+ and − in a chart", "zoom"], ["Escape", "show all time, close a window"], ["T", "light, dark, or as the system"], ["?", "this help"],
];

function openPage() {
	const store = new Store();
	const section = (id) => document.getElementById(id);
	mountReport(section("report"), store, section("details"));
	const replay = mountReplay(section("replay"), store);
	mountCharts(section("charts"), store);
	mountPicture(section("picture"), store);
	mountControl(section("control"), store);
	mountLog(section("log"), store);
	mountStory(section("story"), store);
	mountHead(store);
	mountNotice(section("notice"), store);
	document.addEventListener("keydown", (event) => pageKey(event, store, replay));
	connect(store);
	return store;
}

function mountHead(store) {
	const versions = document.getElementById("versions");
	const help = fillHelp(document.getElementById("help"));
	const theme = press("", () => nextTheme(store), { id: "theme" });
	document.getElementById("tools").append(theme, press("?", () => help.showModal(), { "aria-label": "? Help" }));
	setTheme(store, storedTheme());
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => store.emit("theme"));
	store.on("trials", () => {
		const h = store.hello;
		if (!h) return;
		versions.textContent = [`trivet ${h.trivet}`, `nginx ${h.nginx}`, `${h.cpus} CPUs`, h.dir].filter(Boolean).join(" · ");
		const name = store.trial?.info.experiment;
		document.title = name ? `${name} – Trivet` : "Trivet";
	});
}

function fillHelp(help) {
	const rows = KEYS.map(([key, what]) => el("div", el("dt", el("kbd", key)), el("dd", what)));
	help.append(
		el("h2", "Help"),
		el("p", "Requests go from the client through nginx to the instances. HTTP is drawn solid and blue, gRPC dashed and orange, streams dotted and violet; × and hatches are failures."),
		el("p", "Percentiles come from histograms and are within 1 %; all other numbers are counts. What nginx does with an instance is inferred from its access log."),
		el("dl.keys", ...rows), el("form", { method: "dialog" }, el("button", "Close")));
	return help;
}

function nextTheme(store) {
	const names = Object.keys(THEMES);
	setTheme(store, names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length]);
}

function setTheme(store, name) {
	const root = document.documentElement;
	if (name === "auto") delete root.dataset.theme;
	else root.dataset.theme = name;
	document.getElementById("theme").textContent = THEMES[name];
	store.emit("theme");
	try {
		localStorage.setItem(STORED_THEME, name);
	} catch {
		// A page from a file may have no storage.
	}
}

function storedTheme() {
	try {
		const name = localStorage.getItem(STORED_THEME);
		return Object.hasOwn(THEMES, name) ? name : "auto";
	} catch {
		return "auto";
	}
}

// mountNotice says what is wrong: with the connection, the generator, the machine.
function mountNotice(root, store) {
	let shown = "";
	const late = document.getElementById("late"); // Of a run: its verdict says whether it matters.
	const update = () => {
		late.textContent = store.stack ? "" : lateLines(store).map(([, text]) => "! " + text).join("");
		const lines = [...connectionLines(store), ...trialLines(store), ...(store.stack ? lateLines(store) : [])];
		if (store.stack && shown.length > 2 && !lines.length) lines.push(["note", "All is well again."]); // In the place of what was there: nothing jumps.
		const key = JSON.stringify(lines);
		if (key === shown) return;
		shown = key;
		root.replaceChildren(...lines.map(([tone, text]) => el("p", { class: tone }, el("span", { "aria-hidden": "true" }, { bad: "✕ ", note: "" }[tone] ?? "! "), text)));
		document.body.classList.toggle("stopped", store.stack && lines.some(([tone]) => tone === "bad"));
	};
	store.on("connection data", update);
}

function connectionLines(store) {
	if (store.ended !== null) {
		return [[store.run ? "warn" : "bad", `${clock(store.endedAt)}: ${store.ended} The page shows what there was.`]];
	}
	if (store.problem) return [["bad", store.problem + (store.file ? "" : " trivet has ended, is stopped or cannot be reached. The page shows what there was, and tries again.")]];
	return [];
}

const LACKS = {
	nginx: "nginx's access log was not read: attempts, shares and what nginx does with instances are unknown.",
	instances: "The instances' records were not read: arrivals and requests in flight are unknown.",
};

// trialLines say what is not known of trials.
function trialLines(store) {
	const lines = [];
	for (const { info } of store.compared) {
		const name = [info.experiment, store.shown.length > 1 ? info.variant : "", info.target ? `on ${info.target}` : ""].filter(Boolean).join(", ");
		if (info.problem) lines.push(["warn", `${name}: ${info.problem}`]);
		for (const source of info.lacks ?? []) if (LACKS[source]) lines.push(["warn", `${name}: ${LACKS[source]}`]);
	}
	return lines;
}

// lateLines warn if latencies are in doubt: of a live stack now, of a run anywhere in what is shown.
function lateLines(store) {
	const sum = { late: 0, max: 0, starved: 0 };
	for (const t of store.compared) addLate(sum, t, store.stack ? t.end - LATE_SPAN : 0);
	const words = [];
	if (sum.late) words.push(`The generator was late for ${number(sum.late)} requests, at most ${micros(sum.max)}.`);
	if (sum.starved && store.stack) words.push("Other programs, like this browser, leave the machine no CPU to spare."); // Without a number: it is read aloud.
	else if (sum.starved) words.push(`The machine had no CPU to spare for ${(sum.starved / 1000).toFixed(1)} s.`);
	return words.length ? [[sum.late ? "warn" : "note", words.join(" ") + " Latencies are in doubt where the charts have a bar on top."]] : [];
}

function addLate(sum, trial, from) {
	const width = trial.info.width_ms;
	for (let n = Math.max(trial.first, Math.floor(from / width)); n <= trial.last; n++) {
		const bin = trial.bins.get(n);
		if (bin?.generator?.late) {
			sum.late += bin.generator.late;
			sum.max = Math.max(sum.max, bin.generator.max_us);
		}
		if (bin?.machine?.starved) sum.starved += width;
	}
}

// pageKey is for keys that mean the same everywhere; where text is written or a control has the key, they mean that.
function pageKey(event, store, replay) {
	if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog")) return;
	if (event.key === "Escape" && store.zoom) return store.setZoom(null);
	if (event.target.closest("input:not([type=range]), select, textarea")) return;
	if (event.key === " " && event.target.closest("button, summary, a")) return;
	const does = {
		" ": !store.stack && replay.toggle, "[": () => replay.faster(-1), "]": () => replay.faster(1), l: replay.live, L: replay.live,
		t: () => nextTheme(store), T: () => nextTheme(store), "?": () => document.getElementById("help").showModal(),
	}[event.key];
	if (!does) return;
	event.preventDefault();
	does();
}

// pageStore is for tests, and for the console of a browser.
export const pageStore = openPage();
