// How views build their elements: text is always a text node, so nothing from outside becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

// el makes an HTML element: its tag with classes, as "p.small.quiet", then attributes, if any, then elements and strings; what is false or
// empty is left out. A function among the attributes is a listener of its event, true an empty attribute.
export function el(tag, ...content) {
	const [name, ...classes] = tag.split(".");
	return fill(document.createElement(name), classes, content);
}

export function svg(tag, ...content) {
	const [name, ...classes] = tag.split(".");
	return fill(document.createElementNS(SVG, name), classes, content);
}

function fill(element, classes, content) {
	element.classList.add(...classes);
	const [attributes, ...children] = content[0]?.constructor === Object ? content : [{}, ...content];
	for (const [name, value] of Object.entries(attributes)) {
		if (typeof value === "function") element.addEventListener(name, value);
		else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.filter(Boolean));
	return element;
}

export function press(text, click, attributes = {}, ...children) {
	return el("button", { type: "button", click, ...attributes }, text, ...children);
}

// chartPanel has a legend of [class, text].
export function chartPanel(id, title, note, legend, grid) {
	const marks = legend.map(([mark, text]) => el("li", el("i", { class: mark, "aria-hidden": "true" }), text));
	const head = el("div.panel-head", el("h3", title), note, marks.length > 0 && el("ul.legend", ...marks));
	return el("section.panel", { "data-panel": id, "aria-label": title }, head, grid);
}

export function plotCell(flow, caption, readout, plot) {
	return el("div.cell", { "data-flow": flow }, el("div.cell-head", caption, readout), plot);
}

// setText sets the text only if it differs: an unchanged one costs no layout.
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

// setRows sets the rows of a list, if they differ. They have a data-row each: the button of the one that has the focus keeps it.
export function setRows(list, rows) {
	if (rows.length === list.children.length && rows.every((row, i) => row === list.children[i])) return;
	const focused = list.contains(document.activeElement) ? document.activeElement.closest("[data-row]").dataset.row : null;
	list.replaceChildren(...rows);
	if (focused !== null) rows.find((row) => row.dataset.row === focused)?.querySelector("button").focus({ preventScroll: true });
}

// scrollTable is a table in a region that scrolls, also by keys.
export function scrollTable(label, columns, body, caption) {
	const head = el("tr", ...columns.map((text) => el("th", { scope: "col" }, text)));
	return el("div.scroll", { tabindex: "0", role: "region", "aria-label": label }, el("table", caption, el("thead", head), body));
}
