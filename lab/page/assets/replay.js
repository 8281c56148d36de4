// Which trial is shown, and which moment of it.
import { el, press, setText } from "./dom.js";
import { moment, clock } from "./format.js";
import { actionsOf } from "./axis.js";
import { chooseTrial } from "./experiment.js";

const TICK = 100; // milliseconds between two steps
const CALM_TICK = 1000; // with reduced motion
const SPEEDS = [0.5, 1, 2, 4];

// mountReplay fills the bar; a live stack has none. It returns what keys of the page do.
export function mountReplay(root, store) {
	const replay = new Replay(root, store);
	return { toggle: () => replay.toggle(), faster: (by) => replay.faster(by), live: () => replay.follow() };
}

class Replay {
	constructor(root, store) {
		this.root = root;
		this.store = store;
		this.speed = 1;
		this.timer = 0;
		this.key = "";
		this.build();
		store.on("trials data connection", () => this.update());
		store.on("now", () => this.showNow());
	}

	build() {
		this.play = press("", () => this.toggle(), { class: "play", "data-do": "play" });
		this.rate = el("select", { "aria-label": "Speed", change: () => (this.speed = +this.rate.value) }, ...SPEEDS.map((s) => el("option", { value: s, selected: s === 1 }, s + "×")));
		this.slider = el("input", { type: "range", min: "0", step: "any", "aria-label": "Moment of the trial", input: () => this.scrub(+this.slider.value), keydown: (event) => this.arrow(event) });
		this.track = el("div.track", { "aria-hidden": "true" });
		this.time = el("output.num");
		this.live = press("Live", () => this.follow());
		this.chooser = el("div.chooser");
		const times = el("div.scrub", this.track, this.slider);
		this.root.append(this.chooser, el("div.player", this.play, this.rate, times, this.time, this.live));
		this.showPlaying();
	}

	update() {
		const { store } = this;
		const { trial } = store;
		this.root.hidden = !trial || store.stack;
		if (this.root.hidden) return;
		this.live.hidden = store.over || store.ended !== null;
		this.live.setAttribute("aria-pressed", String(store.live));
		this.slider.max = store.length(store.focus);
		const key = [store.shown, store.focus, store.trials.size, trial.info.begin].join();
		if (key !== this.key) this.fillChooser(trial.info);
		if (key !== this.key || trial.events.length !== this.events) this.fillTrack(trial);
		this.key = key;
		this.events = trial.events.length;
		this.showNow();
	}

	fillTrack({ info, events }) {
		const place = (element, at) => {
			element.style.left = (100 * at) / info.length_ms + "%";
			return element;
		};
		const phases = info.phases.map((p) => {
			const box = place(el("span.phase", p.name), p.from);
			box.style.width = (100 * (p.to - p.from)) / info.length_ms + "%";
			return box;
		});
		const marks = actionsOf({ events }).map((e) => place(el("span.mark", { title: `${moment(info, e.at)} ${e.text}` }, "▼"), e.at));
		this.track.replaceChildren(...phases, ...marks);
	}

	// fillChooser offers the other variants and trials; an experiment is chosen above.
	fillChooser(info) {
		const { store } = this;
		const all = [...store.trials.values()].map((t) => t.info).filter((i) => i.experiment === info.experiment);
		const variants = [...new Set(all.map((i) => i.variant))];
		const numbers = [...new Set(all.map((i) => i.number))];
		const find = (variant, number) => all.find((i) => i.variant === variant && i.number === number);
		const parts = [];
		if (variants.length > 1) {
			const button = (v) => press(v, () => this.choose(find(v, info.number)), { "aria-pressed": String(v === info.variant), disabled: !find(v, info.number) });
			parts.push(el("div.row", { role: "group", "aria-label": "Variant in the picture" }, el("span.quiet.small", "In the picture:"), ...variants.map(button)));
			const together = store.shown.length > 1;
			const beside = () => store.setShown(together ? [info.trial] : store.beside(info), info.trial);
			parts.push(el("label.row.small", el("input", { type: "checkbox", checked: together, change: beside }), "all variants in the charts"));
		}
		if (numbers.length > 1) {
			const choose = (event) => this.choose(find(info.variant, +event.target.value));
			parts.push(el("label.row.small", "Trial", el("select", { change: choose }, ...numbers.map((n) => el("option", { value: n, selected: n === info.number }, n)))));
		}
		const controls = () => [...this.chooser.querySelectorAll("button, input, select")];
		const focused = controls().indexOf(document.activeElement);
		this.chooser.replaceChildren(...parts);
		this.chooser.hidden = !parts.length;
		controls()[focused]?.focus();
	}

	// choose keeps whether all variants are shown.
	choose(info) {
		const { store } = this;
		if (store.shown.length === 1) store.setShown([info.trial]);
		else chooseTrial(store, info);
	}

	// follow shows the newest data, as it comes.
	follow() {
		this.pause();
		this.store.setLive();
	}

	scrub(ms) {
		this.pause();
		this.store.setNow(ms);
	}

	// arrow moves by a tenth of a second, with Shift by a whole one: a slider without steps has none of its own.
	arrow(event) {
		const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
		if (!by) return;
		event.preventDefault();
		this.scrub(this.store.now + by * (event.shiftKey ? 1000 : 100));
	}

	showNow() {
		const { store } = this;
		const info = store.trial?.info;
		if (!info || this.root.hidden) return;
		this.slider.value = store.now;
		const text = `${moment(info, store.now)} of ${+(info.length_ms / 1000).toFixed(1)} s`;
		setText(this.time, text);
		this.slider.setAttribute("aria-valuetext", `${text}, ${clock(new Date(Date.parse(info.begin) + store.now))}`);
	}

	toggle() {
		if (this.root.hidden) return;
		if (this.timer) this.pause();
		else this.start();
	}

	// start plays on; at the end from the beginning.
	start() {
		const { store } = this;
		store.setNow(store.now >= store.newest(store.focus) - 1 ? 0 : store.now);
		let before = performance.now();
		const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
		this.timer = setInterval(() => {
			const now = performance.now();
			store.setNow(store.now + (now - before) * this.speed);
			before = now;
			if (store.now < store.newest(store.focus)) return;
			// There is nothing after the newest data of a trial that goes on: zeros would look measured.
			if (store.receiving && store.focus === Math.max(...store.trials.keys())) this.follow();
			else this.pause();
		}, calm ? CALM_TICK : TICK);
		this.showPlaying();
	}

	pause() {
		clearInterval(this.timer);
		this.timer = 0;
		this.showPlaying();
	}

	showPlaying() {
		setText(this.play, this.timer ? "❚❚ Pause" : "▶ Play");
	}

	faster(by) {
		const i = Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(this.speed) + by));
		this.speed = SPEEDS[i];
		this.rate.value = String(this.speed);
	}
}
