// What can be done with a live stack.
import { el, press, setText } from "./dom.js";
import { micros, moment, number, plural, rate } from "./format.js";
import { icon } from "./icons.js";

const ACTION_TITLES = {
	kill: "SIGKILL: it ends at once", drain: "SIGTERM: it finishes what is in flight, and ends", pause: "SIGSTOP: it keeps its connections and does nothing",
	resume: "SIGCONT", restart: "drain, then start", start: "start the process", reload: "old workers finish what is in flight",
};

const LOAD_FIELDS = [
	{ name: "http", label: "HTTP", unit: "/s", limit: "rate", at: 300 },
	{ name: "grpc", label: "gRPC", unit: "/s", limit: "rate", at: 300 },
	{ name: "streams", label: "Streams", unit: "open", limit: "streams", at: 0 },
	{ name: "deadline_ms", label: "Deadline", unit: "ms", limit: "deadline_ms", at: 2000 },
];

// A Change posts changes, and says under their buttons what went wrong, with nginx's own lines.
class Change {
	constructor(store) {
		this.store = store;
		this.problem = el("div.problem.small");
	}

	// post resolves to the response, or to null. Screen readers read the result.
	async post(path, body, done) {
		const said = document.getElementById("said");
		this.problem.replaceChildren();
		try {
			const result = await this.store.send(path, body);
			said.textContent = done;
			return result;
		} catch (error) {
			said.textContent = `Refused: ${error.message}`;
			this.show(error.message, error.detail);
			return null;
		}
	}

	show(text, detail) {
		this.problem.replaceChildren(el("p.bad", icon("bad"), " " + text));
		if (detail) this.problem.append(el("pre", detail));
	}
}

// actionRow has a button per action that makes sense now at an instance, or at nginx.
export function actionRow(store, process) {
	const buttons = el("div.row");
	const change = new Change(store);
	const element = el("div.actions", { hidden: true }, buttons, change.problem);
	let shown = "";
	let seen = false;
	const act = (action) => change.post("/api/action", { action, process }, `${action} ${process}: done`);
	const update = () => {
		seen ||= element.isConnected;
		if (seen && !element.isConnected) return off();
		const actions = (!store.ended && store.control?.actions?.[process]) || [];
		element.hidden = actions.length === 0;
		if (shown === actions.join(" ")) return;
		shown = actions.join(" ");
		const focused = buttons.contains(document.activeElement);
		buttons.replaceChildren(...actions.map((a) => press(a, () => act(a), { class: "act", "data-action": a, "data-process": process, title: ACTION_TITLES[a], "aria-label": `${a} ${process}` })));
		if (focused) buttons.querySelector("button")?.focus();
	};
	const off = store.on("control connection", update);
	update();
	return element;
}

export function mountControl(root, store) {
	document.body.append(el("div.sr", { id: "said", role: "status", "aria-live": "polite" }));
	const parts = [loadPart(store), nginxPart(store), savePart(store)];
	const [load, nginx, save] = parts;
	root.append(el("h2", "Control"), load.element, nginx.element, el("div.others", requestPart(store), save.element), save.file);
	const update = () => {
		root.hidden = !store.control || Boolean(store.ended);
		if (store.control) for (const p of parts) p.update(store.control);
	};
	store.on("control connection", update);
	update();
}

function loadPart(store) {
	const inputs = Object.fromEntries(LOAD_FIELDS.map((f) => [f.name, el("input", { type: "number", name: f.name, min: 0, step: f.limit === "rate" ? "any" : 1, value: f.at, required: true })]));
	const retry = el("input", { type: "checkbox", name: "retry" });
	const start = press("Start", null, { type: "submit", class: "main", "data-do": "start-load" });
	const stop = press("Stop", () => halt(), { "data-do": "stop-load", disabled: true });
	const says = el("p.small");
	const late = el("p.small.warn", { hidden: true });
	const ended = el("p.small.quiet", { hidden: true });
	const change = new Change(store);
	const fields = LOAD_FIELDS.map((f) => el("label", el("span", f.label, el("span.quiet", ` ${f.unit}`)), inputs[f.name]));
	const form = el("form.load",
		el("h3", "Load"), el("div.fields", ...fields), el("label.check", retry, " Clients retry"),
		el("div.row", start, stop), says, late, change.problem, ended);
	let edited = false;
	form.addEventListener("input", () => (edited = true));
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		const body = { retry: retry.checked };
		for (const f of LOAD_FIELDS) body[f.name] = Number(inputs[f.name].value);
		start.disabled = true;
		if (await change.post("/api/load", body, "Load set.")) edited = false;
		start.disabled = false;
		if (document.activeElement === document.body) start.focus(); // A disabled button loses it.
	});
	const halt = async () => {
		stop.disabled = true;
		if (await change.post("/api/load/stop", {}, "Load stopped.")) start.focus();
		else stop.disabled = false;
	};
	const update = ({ load, reconciled }) => {
		setText(start, load.running ? "Change" : "Start");
		stop.disabled = !load.running;
		for (const f of LOAD_FIELDS) [inputs[f.name].min, inputs[f.name].max] = [0, load.limits[f.limit]].flat().slice(-2);
		if (load.running && !edited) {
			for (const f of LOAD_FIELDS) if (load[f.name] !== undefined) inputs[f.name].value = load[f.name];
			retry.checked = load.retry;
		}
		setText(says, load.running ? `Since ${moment(store.trial?.info, load.since)}: HTTP ${rate(load.http)}, gRPC ${rate(load.grpc)}; lateness p99 ${micros(load.lateness_p99_us)}.` : "No load.");
		late.hidden = !load.problem;
		if (load.problem) late.replaceChildren(icon("bad"), ` ${load.problem}`);
		ended.hidden = !reconciled?.loads && !reconciled?.problem;
		if (!ended.hidden) setText(ended, reconciledWords(reconciled));
		ended.classList.toggle("bad", Boolean(reconciled?.discrepancies || reconciled?.problem));
	};
	return { element: form, update };
}

function reconciledWords(r) {
	const counts = [r.requests, r.ok, r.failed].map(number);
	const dropped = r.requests - r.ok - r.failed;
	const never = dropped ? `, ${number(dropped)} never sent` : "";
	const sums = `Reconciled after ${plural(r.loads, "load")}: ${counts[0]} requests, ${counts[1]} OK, ${counts[2]} failed${never}; discrepancies: ${number(r.discrepancies)}. `;
	return (r.loads ? sums : "") + r.problem;
}

function nginxPart(store) {
	const list = el("div.fields");
	const apply = press("Apply", null, { type: "submit", "data-do": "apply-nginx", disabled: true });
	const says = el("p.small.quiet");
	const change = new Change(store);
	const form = el("form.settings", el("h3", "nginx"), list, el("div.row", apply, actionRow(store, "nginx")), says, change.problem);
	const selects = new Map();
	let settings = [];
	let refused = "";
	const differ = () => {
		const changed = settings.filter((s) => selects.get(s.name).select.value !== s.value);
		apply.disabled = changed.length === 0;
		setText(says, changed.length ? "Not applied yet. nginx -t tests the change first." : "As nginx has it.");
		for (const s of settings) {
			const { select, directive } = selects.get(s.name);
			setText(directive, s.options.find((o) => o.value === select.value)?.directive || "as shipped");
		}
	};
	form.addEventListener("input", differ);
	form.addEventListener("submit", async (event) => {
		event.preventDefault();
		apply.disabled = true;
		const body = Object.fromEntries([...selects].map(([name, s]) => [name, s.select.value]));
		await change.post("/api/nginx", body, "nginx has the new settings.");
		differ();
		(apply.disabled ? list.querySelector("select") : apply).focus();
	});
	const update = ({ nginx }) => {
		settings = nginx.settings;
		if (!selects.size) list.append(...settings.map((s) => settingRow(s, selects)));
		for (const s of settings) {
			const of = selects.get(s.name);
			if (of.value === s.value) continue;
			of.value = of.select.value = s.value;
		}
		if (refused && !nginx.refused) change.problem.replaceChildren(); // Another page has set what nginx takes.
		refused = nginx.refused;
		if (refused && !change.problem.hasChildNodes()) change.show("nginx refused the last change; nothing was changed.", refused);
		differ();
	};
	return { element: form, update };
}

function settingRow(setting, selects) {
	const select = el("select", { name: setting.name }, ...setting.options.map((o) => el("option", { value: o.value }, o.label)));
	const directive = el("code.directive");
	selects.set(setting.name, { select, directive, value: null });
	return el("label.setting", el("span", setting.label), select, directive);
}

function requestPart(store) {
	const change = new Change(store);
	const send = async (button, protocol) => {
		button.disabled = true;
		const story = await change.post("/api/request", { protocol }, "The response is here.");
		button.disabled = false;
		if (!story) return;
		store.stories.set(`${store.focus} ${story.id}`, story);
		button.focus();
		store.openStory(store.focus, story.id);
	};
	const button = (protocol, text) => press(text, (event) => send(event.currentTarget, protocol), { "data-do": `send-${protocol}` });
	return el("div", el("h3", "One request"), el("div.row", button("http", "Send one HTTP request"), button("grpc", "Send one gRPC call")), change.problem);
}

function savePart(store) {
	const change = new Change(store);
	const why = el("p.small.quiet");
	const save = press("Save as experiment", () => open(), { "data-do": "save" });
	const yaml = el("pre.yaml", { tabindex: "0", "aria-label": "The experiment's file" });
	const how = el("code");
	const copied = el("span.small", { role: "status" });
	const copy = press("Copy", () => {
		getSelection().selectAllChildren(yaml);
		(navigator.clipboard?.writeText(yaml.textContent) ?? Promise.reject()).then(() => setText(copied, "Copied."), () => setText(copied, "The text is selected.")); // Other machines have no clipboard.
	});
	const download = el("a", "Download");
	const file = el("div.saved", { hidden: true }, el("p.small", "This file does again what was done: ", how), el("div.row", copy, download, copied), yaml);
	const open = async () => {
		const result = await change.post("/api/experiment", {}, "The experiment's file is below the controls.");
		if (!result) return;
		const fileName = result.name.replace(/(\.ya?ml)?$/, ".yaml");
		setText(how, `trivet run ${fileName}`);
		setText(yaml, result.yaml);
		setText(copied, "");
		URL.revokeObjectURL(download.href);
		download.href = URL.createObjectURL(new Blob([result.yaml], { type: "application/yaml" }));
		download.download = fileName;
		file.hidden = false;
		file.scrollIntoView({ block: "nearest" });
	};
	const update = ({ history }) => {
		save.disabled = !history;
		setText(why, history ? `${plural(history, "step")} so far.` : "Nothing was done yet: start a load first.");
	};
	return { element: el("div", el("h3", "Experiment"), el("div.row", save, why), change.problem), file, update };
}
