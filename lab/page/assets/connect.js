// Where messages come from: trivet, or the file that the page is.
import { clock } from "./format.js";

const RETRY = 2000; // milliseconds
const SILENCE = 12000; // milliseconds: trivet sends something every 5 s
const SLICE = 2000; // messages that are taken at once, so that the page stays responsive

export function connect(store) {
	if (store.file) readFile(store, store.file);
	else listen(store);
	document.addEventListener("visibilitychange", () => document.hidden || store.flush());
}

// readFile takes the messages of a report: gzip in base64, so that no text in it can end the element.
async function readFile(store, data) {
	try {
		const bytes = Uint8Array.from(atob(data.textContent.trim()), (c) => c.charCodeAt(0));
		const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
		const lines = (await new Response(plain).text()).split("\n");
		for (let i = 0; i < lines.length; i++) {
			if (lines[i]) store.apply(JSON.parse(lines[i]));
			if (i % SLICE === SLICE - 1) await new Promise((resume) => setTimeout(resume));
		}
		store.connected = true;
	} catch (error) {
		store.problem = `This file cannot be read: ${error.message}`;
	}
	store.emit("connection");
	store.flush();
}

// listen takes the messages of trivet. EventSource reconnects by itself, but not after an HTTP error.
function listen(store) {
	const source = new EventSource("api/feed");
	const pulse = { at: performance.now(), timer: 0 };
	const alive = () => {
		pulse.at = performance.now();
		if (store.problem !== null) setProblem(store, null);
	};
	source.onopen = () => {
		store.connected = true;
		alive();
		store.emit("connection");
	};
	source.addEventListener("alive", alive);
	source.onmessage = (event) => {
		const message = JSON.parse(event.data);
		if (message.hello && store.hello && message.hello.dir !== store.hello.dir) return location.reload(); // Another trivet: it may have other files, and has another token.
		alive();
		store.apply(message);
		if (message.end) {
			clearInterval(pulse.timer);
			source.close();
		}
	};
	source.onerror = () => {
		store.connected = false;
		setProblem(store, store.problem ?? `No connection since ${clock(new Date())}.`);
		if (source.readyState !== EventSource.CLOSED) return;
		clearInterval(pulse.timer);
		setTimeout(() => listen(store), RETRY);
	};
	pulse.timer = setInterval(() => watch(store, pulse), RETRY);
}

// watch notices that trivet is silent although the connection is open: it is stopped, or the network is gone.
function watch(store, pulse) {
	if (document.hidden) pulse.at = performance.now(); // Timers of a hidden page may be late.
	const silent = performance.now() - pulse.at;
	if (store.connected && store.problem === null && silent > SILENCE) setProblem(store, `Nothing from trivet since ${clock(new Date(Date.now() - silent))}.`);
}

function setProblem(store, text) {
	store.problem = text;
	store.emit("connection");
}
