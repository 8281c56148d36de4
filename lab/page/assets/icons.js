// Icons are drawn, because fonts differ in which symbols they have. A word always stands beside one.
import { svg } from "./dom.js";

const ICON_PATHS = {
	running: "M5 3.2v9.6L13 8z",
	starting: "M8 2a6 6 0 1 1-6 6h2a4 4 0 1 0 4-4z",
	paused: "M4 3h3v10H4zM9 3h3v10H9z",
	gone: "M3.4 2 8 6.6 12.6 2 14 3.4 9.4 8l4.6 4.6-1.4 1.4L8 9.4 3.4 14 2 12.6 6.6 8 2 3.4z",
	serving: "M6.4 13.2 1.8 8.6l1.5-1.5 3.1 3.1 6.3-7 1.5 1.4z",
	not_serving: "M2 6.8h12v2.4H2z",
	no_response: "M6.9 11.2h2.2v2.3H6.9zM4.4 5.9C4.4 3.7 6 2.4 8.1 2.4s3.6 1.2 3.6 3c0 2.4-2.6 2.6-2.6 4.4H6.9C6.9 7 9.5 7 9.5 5.5c0-.7-.6-1.1-1.4-1.1-.9 0-1.5.6-1.5 1.5z",
	failing: "M8 1.3 15.5 14.5H.5zM7.1 6v4.5h1.8V6zm0 5.6v1.7h1.8v-1.7z",
	not_chosen: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM4.9 12l7.1-7.1A4.5 4.5 0 0 0 4.9 12zM4 11.1 11.1 4A4.5 4.5 0 0 0 4 11.1z",
	unknown: "M3 7.2h2v1.7H3zM7 7.2h2v1.7H7zM11 7.2h2v1.7h-2z",
	note: "M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6z",
	action: "M9.5 1 3 9.3h4L6.2 15 13 6.5H9z",
};

const ICON_OF = { bad: "failing", good: "serving", in_doubt: "no_response", failed: "gone", ok: "serving" };

// icon is a drawing for a state, a tone or a result; of an unknown one, the dots of "unknown".
export function icon(name) {
	const d = ICON_PATHS[ICON_OF[name] ?? name] ?? ICON_PATHS.unknown;
	return svg("svg.icon", { viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, svg("path", { d, "fill-rule": "evenodd" }));
}

// swatch is a short line in a flow's color and pattern.
export function swatch(flow) {
	const line = { x1: 1, y1: 4, x2: 27, y2: 4, class: "edge " + flow };
	return svg("svg.swatch", { viewBox: "0 0 28 8", "aria-hidden": "true", focusable: "false" }, svg("line", line));
}
