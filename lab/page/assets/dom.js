// How views build their elements: text is always a text node, so nothing from outside becomes HTML.

const SVG = "http://www.w3.org/2000/svg";

// el makes an HTML element. Attributes: a function is a listener of its event, true an empty attribute, null, undefined or false none; "text"
// is its text. Children: elements and strings; null, undefined, false and "" are none.
export function el(tag, attributes = {}, ...children) {
	return fill(document.createElement(tag), attributes, children);
}

// svg makes an SVG element in the same way.
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

// press makes a button.
export function press(text, click, attributes = {}, ...children) {
	return el("button", { type: "button", text, click, ...attributes }, ...children);
}

// setText sets the text only if it differs: an unchanged one costs no layout.
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

// scrollTable is a table in a region that scrolls, also by keys.
export function scrollTable(label, columns, body, caption) {
	const head = el("tr", {}, ...columns.map((text) => el("th", { scope: "col", text })));
	return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, el("table", {}, caption, el("thead", {}, head), body));
}
