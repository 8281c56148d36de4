// One request's story: sentences, then its trace as a waterfall.
import { el, press, svg } from "./dom.js";
import { flowName, micros } from "./format.js";
import { icon } from "./icons.js";

const TICKS = 4; // parts of the waterfall's axis
const KIND_WORDS = { instance: "execution", hop: "call" };

export function mountStory(root, store) {
	let wanted = null;
	let back = null; // what had the focus
	root.addEventListener("close", () => {
		if (store.wanted) store.closeStory();
		if (back?.isConnected) back.focus();
	});
	const close = press("Close", () => root.close());
	const title = el("h2", { id: "story-title" });
	const body = el("div.story");
	root.dataset.story = "";
	root.removeAttribute("aria-label");
	root.setAttribute("aria-labelledby", "story-title");
	root.append(el("div.row.head", title, close), body);
	store.on("story", async () => {
		wanted = store.wanted;
		if (!wanted) return root.open && root.close();
		if (!root.open) {
			back = document.activeElement;
			root.showModal();
		}
		title.textContent = `Request ${wanted.id}`;
		body.replaceChildren(el("p.quiet", "Reading its records …"));
		const mine = wanted;
		try {
			const story = await store.story(mine.trial, mine.id);
			if (mine === wanted) body.replaceChildren(...storyParts(story));
		} catch (error) {
			if (mine === wanted) body.replaceChildren(el("p.bad", icon("bad"), ` ${error.message}`));
		}
	});
}

function storyParts(story) {
	const outcome = story.outcome === "ok" ? "OK" : story.outcome.replaceAll("_", " ");
	const head = el("p", { class: "lead " + (story.failed ? "bad" : "good") }, icon(story.failed ? "failed" : "ok"), ` ${flowName(story.protocol)} ${story.method}: ${outcome}, ${micros(story.took_us)}`);
	const list = el("ol.sentences", ...story.sentences.map((text) => el("li", text)));
	const rows = spanRows(story.trace);
	if (!rows.length) return [head, list];
	const begin = Math.min(...rows.map((r) => r.from));
	const whole = Math.max(1, Math.max(...rows.map((r) => r.to)) - begin);
	const bars = el("ol.waterfall", { "aria-label": "Spans, with begin and duration" }, axisRow(whole), ...rows.map((r) => spanRow(r, begin, whole)));
	const note = `Begin and duration of each span. nginx counts in whole milliseconds, so its spans may be off by one. Trace ID ${story.trace.id}.`;
	return [head, list, el("h3", "Waterfall"), bars, el("p.small.quiet", note)];
}

// spanRows are all spans of the tree, with times in µs.
function spanRows(trace) {
	const rows = [];
	const add = (spans, depth) => {
		for (const span of spans ?? []) {
			const from = microsOf(span.begin);
			rows.push({ span, depth, from, to: Math.max(from, microsOf(span.end)) });
			add(span.children, depth + 1);
		}
	};
	add(trace?.spans, 0);
	return rows;
}

// microsOf is a time in µs: Date has milliseconds alone.
function microsOf(text) {
	const fraction = text.match(/\.(\d+)/)?.[1] ?? "";
	const seconds = Date.parse(text.replace(/\.\d+/, ""));
	return seconds * 1000 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

function axisRow(whole) {
	const ticks = Array.from({ length: TICKS + 1 }, (_, i) => {
		const anchor = i === 0 ? "start" : i === TICKS ? "end" : "middle";
		return svg("text", { x: `${(100 * i) / TICKS}%`, y: 11, "text-anchor": anchor }, i === 0 ? "0" : micros((whole * i) / TICKS));
	});
	return el("li.axis", { "aria-hidden": "true" }, el("span.what"), svg("svg.bars", { height: 16 }, ...ticks), el("span.took"));
}

function spanRow({ span, depth, from, to }, begin, whole) {
	const left = (100 * (from - begin)) / whole;
	const width = Math.max(0.4, (100 * (to - from)) / whole);
	const result = span.result === "ok" ? "" : span.result.replace("_", " ");
	const bar = svg("rect", { x: `${Math.min(left, 99.6)}%`, y: 4, width: `${width}%`, height: 14, rx: 2, class: `span ${span.kind} ${span.result}${span.unfinished ? " unfinished" : ""}` });
	const what = el("span.what", el("span.kind", KIND_WORDS[span.kind] ?? span.kind), ` ${spanLabel(span)}`);
	what.style.setProperty("--depth", Math.min(depth, 10));
	const note = [span.note, result && !span.note.includes(result) ? result : ""].filter(Boolean).join(", ");
	const took = el("span.took", `+${micros(from - begin)}, ${span.unfinished ? "not completed" : to > from ? micros(to - from) : "< 1 ms"}`);
	const says = el("span", { class: "note " + (span.result === "ok" ? "quiet" : "bad") }, span.result === "ok" ? null : icon(span.result), " ", note);
	return el("li", what, svg("svg.bars.grid", { height: 22, "aria-hidden": "true" }, bar), el("span.end", took, says));
}

function spanLabel(span) {
	const method = span.name.replace(/^POST /, "").replace(/^\/[\w.]+\.[\w.]+\//, "");
	if (span.kind === "attempt") return span.name.replace(/^attempt /, "");
	if (span.kind === "instance") return span.process;
	if (span.kind === "hop") return `${span.process} → ${method}`;
	return method;
}
