// How views build their elements: text is always a text node, so nothing from outside becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

// el makes an HTML element. Attributes: a function is a listener of its event, true an empty attribute, null, undefined or false none; "text"
// is its text. Children: elements and strings; null, undefined, false and "" are none.
export function el(tag, attributes = {}, ...children) {
	return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
	return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
	for (const [name, value] of Object.entries(attributes)) {
		if (name === "text") element.textContent = value;
		else if (typeof value === "function") element.addEventListener(name, value);
		else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.filter(Boolean));
	return element;
}

export function press(text, click, attributes = {}, ...children) {
	return el("button", { type: "button", text, click, ...attributes }, ...children);
}

// chartPanel is a section with a title, a note, a legend of [class, text], and a grid.
export function chartPanel(id, title, note, legend, grid) {
	const marks = legend.map(([mark, text]) => el("li", {}, el("i", { class: mark, "aria-hidden": "true" }), text));
	const head = el("div", { class: "panel-head" }, el("h3", { text: title }), note, marks.length > 0 && el("ul", { class: "legend" }, ...marks));
	return el("section", { class: "panel", "data-panel": id, "aria-label": title }, head, grid);
}

// plotCell is a plot of a panel's grid with its caption and the values at the cursor.
export function plotCell(flow, caption, readout, plot) {
	return el("div", { class: "cell", "data-flow": flow }, el("div", { class: "cell-head" }, caption, readout), plot);
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
	const head = el("tr", {}, ...columns.map((text) => el("th", { scope: "col", text })));
	return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, el("table", {}, caption, el("thead", {}, head), body));
}
