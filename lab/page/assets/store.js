// The state that all views share: what the feed said, and what the reader of the page looks at. docs/feed.md describes the messages.
//
// A view reads the fields below and is called by store.on when they have changed. Only connect.js calls apply; views change what is looked
// at through the methods.

// FLOWS are all flows, in the order in which they are shown.
export const FLOWS = ["http", "grpc", "streams"];

// COUNTS and PARTS are the fields of a Flow and of an Instant that can be added; "open" is a level, of which the newest counts.
const COUNTS = [
	"requests", "ok", "instance_errors", "nginx_errors", "incomplete", "dropped",
	"client_attempts", "nginx_attempts", "failed_attempts", "in_doubt", "no_live_upstreams", "local_replies", "others",
];

const PARTS = ["first", "attempts", "failed", "ok", "arrivals", "hops", "calls", "others"];

const KEPT_FAILURES = 200; // of a live stack
const KEPT_EVENTS = 500; // of a live stack
const KEPT_STATES = 300; // of an instance of a live stack
const KEPT_NEWS = 5000; // milliseconds of a live stack
const SNAPSHOT = 1000; // milliseconds within which a snapshot of a live stack arrives
const LEAST_ZOOM = 4; // bins
const DATA_PAUSE = 100; // milliseconds between two calls of a "data" listener

const UNKNOWN_STATE = Object.freeze({ process: "unknown", health: "unknown", nginx: "unknown", why: "" });

export class Store {
	constructor() {
		this.listeners = new Map();
		this.connected = false; // the feed is open, or was read to its end
		this.ended = null; // why nothing follows, or null
		this.problem = null; // why the feed cannot be read, or null
		this.selection = null; // {instance} or {flow}, highlighted in all views; or null
		this.wanted = null; // {trial, id} of the story that is open, or null
		this.zoom = null; // [from, to] in ms that all charts show; null: what window says
		this.file = document.getElementById("feed"); // the element with the data, if the page is a file; or null
		this.timer = 0;
		this.untouched = true; // the reader has not chosen a trial or a moment
		this.token = document.querySelector('meta[name="trivet-token"]')?.content ?? "";
		this.reset();
	}

	// reset forgets all data: a Hello begins anew.
	reset() {
		this.hello = null;
		this.run = null; // {experiments: [{name, question, trials, variants, expect}]}
		this.files = new Map(); // id → File
		this.reports = new Map(); // index of the experiment → report on it
		this.stories = new Map(); // "trial id" → story, of a file
		this.omitted = null; // {stories, text}: what a file has no room for; or null
		this.control = null; // what can be done with a live stack, or null
		this.trials = new Map(); // number → trial, see newTrial
		this.shown = []; // numbers of the trials beside each other
		this.focus = -1; // number of the one in the picture
		this.now = 0; // ms in the trial in focus
		this.live = true; // now follows the newest data
		this.window = null; // ms before now that the charts show; null: all
	}

	// on calls f after any of what has changed: "data" (messages; at most 10 per second), "now", "control", "trials" (trials, reports, or
	// which are shown), "connection", "zoom", "selection", "story", "theme". It returns a function that ends this.
	on(what, f) {
		const all = what.split(" ");
		for (const w of all) this.listeners.set(w, (this.listeners.get(w) ?? new Set()).add(f));
		return () => all.forEach((w) => this.listeners.get(w).delete(f));
	}

	emit(what) {
		for (const f of this.listeners.get(what) ?? []) f(this);
	}

	apply(m) {
		for (const kind in TAKE) {
			const trial = m[kind] && this.trials.get(m[kind].trial);
			if (trial) TAKE[kind](trial, m[kind]);
		}
		if (m.hello) this.begin(m.hello);
		else if (m.trial) this.takeTrial(m.trial);
		else if (m.run) this.run = m.run;
		else if (m.file) this.files.set(m.file.id, m.file);
		else if (m.experiment) this.reports.set(m.experiment.experiment, m.experiment.report);
		else if (m.story) this.stories.set(m.story.trial + " " + m.story.id, m.story);
		else if (m.control) this.control = m.control;
		else if (m.omitted) this.omitted = m.omitted;
		else if (m.end) Object.assign(this, { ended: m.end.text, endedAt: new Date() });
		if (m.control) this.emit("control");
		if (m.end) this.emit("connection");
		if (m.trial || m.run || m.experiment || m.file) this.trialsChanged = true;
		this.schedule();
	}

	// begin starts anew, and keeps what the reader looks at if the same trials come again: after a lost connection.
	begin(hello) {
		const { shown, focus, now, live, window } = this;
		const before = this.hello && { shown, focus, now, live, window }; // Of another run directory the page is loaded again.
		this.reset();
		this.hello = hello;
		this.ended = null;
		this.window = this.stack ? 120000 : null;
		Object.assign(this, before);
	}

	// stack reports whether the feed is of a live stack, and not of a run.
	get stack() {
		return this.hello?.source === "live";
	}

	// trial is the one in focus, or undefined.
	get trial() {
		return this.trials.get(this.focus);
	}

	// compared are the trials that are shown beside each other.
	get compared() {
		return this.shown.map((n) => this.trials.get(n)).filter(Boolean);
	}

	// receiving reports whether something may follow, and the connection is good.
	get receiving() {
		return this.connected && this.problem === null && this.ended === null && !this.over;
	}

	// over reports whether a run goes on no more.
	get over() {
		return this.run !== null && this.reports.size >= this.run.experiments.length;
	}

	// schedule calls listeners soon, once for many messages; those of a hidden page when it is seen again.
	schedule() {
		if (this.timer || document.hidden) return;
		this.timer = setTimeout(() => this.flush(), DATA_PAUSE);
	}

	flush() {
		clearTimeout(this.timer);
		this.timer = 0;
		if (this.live) this.now = this.newest(this.focus);
		if (this.trialsChanged) {
			this.trialsChanged = false;
			this.emit("trials");
		}
		this.emit("data");
		if (this.live) this.emit("now");
	}

	takeTrial(info) {
		const t = this.trials.get(info.trial) ?? newTrial();
		t.info = info;
		this.trials.set(info.trial, t);
		if (info.keep && this.window) this.window = Math.min(this.window, info.keep * info.width_ms);
		if (this.run?.over) {
			if (this.untouched) this.show(this.trials.get(Math.min(...this.trials.keys())).info); // One that is over is looked at from its first trial on.
		} else if (this.focus < 0 || (this.live && info.trial > this.focus)) this.show(info);
	}

	// show puts a trial in focus, beside the other variants' trials of the same number.
	show(info) {
		this.focus = info.trial;
		this.shown = this.beside(info);
		this.zoom = null; // It is of times of another trial.
	}

	// beside are the numbers of the trials that a trial is compared with, and its own.
	beside(info) {
		const all = [...this.trials.values()].map((t) => t.info);
		const same = all.filter((i) => i.experiment === info.experiment && i.number === info.number);
		return same.map((i) => i.trial).sort((a, b) => a - b);
	}

	// What the reader of the page looks at.

	// setNow looks at a moment of the trial in focus, and follows the newest data no more.
	setNow(ms) {
		this.now = Math.max(0, Math.min(ms, this.length(this.focus)));
		this.live = false;
		this.untouched = false;
		this.emit("now");
	}

	// setLive follows the newest data.
	setLive() {
		this.live = true;
		this.zoom = null;
		this.flush();
		this.emit("zoom");
	}

	// setShown shows trials beside each other, the first or the one given in focus.
	setShown(numbers, focus = numbers[0]) {
		this.shown = numbers;
		this.setFocus(focus);
	}

	// setFocus keeps the moment, but the end stays the end.
	setFocus(number) {
		const atEnd = this.now >= this.newest(this.focus);
		if (this.trial?.info.experiment !== this.trials.get(number)?.info.experiment) this.zoom = null;
		this.focus = number;
		this.untouched = false;
		this.now = this.live || atEnd ? this.newest(number) : Math.min(this.now, this.length(number));
		this.emit("trials");
		this.emit("now");
	}

	// setZoom lets all charts show [from, to] in ms, but no less than a few bins; null: all.
	setZoom(range) {
		const least = LEAST_ZOOM * (this.trial?.info.width_ms ?? 0);
		const more = range ? Math.max(0, least - (range[1] - range[0])) / 2 : 0;
		this.zoom = range && [Math.max(0, range[0] - more), range[1] + more];
		this.emit("zoom");
	}

	select(what) {
		this.selection = what;
		this.emit("selection");
	}

	// length is how long a trial is in ms: planned or, of a live stack, so far.
	length(number) {
		const t = this.trials.get(number);
		return t ? t.info.length_ms || t.end : 0;
	}

	// newest is how far the data of a trial goes, in ms: what ends after the last phase belongs to that.
	newest(number) {
		const t = this.trials.get(number);
		return t ? Math.min(t.end, t.info.length_ms || Infinity) : 0;
	}

	// openStory shows a request's story; closeStory does not any more.
	openStory(trial, id) {
		this.wanted = { trial, id };
		this.emit("story");
	}

	closeStory() {
		this.wanted = null;
		this.emit("story");
	}

	async story(trial, id) {
		const kept = this.stories.get(trial + " " + id);
		if (kept) return kept;
		if (this.file) throw new Error(`The file holds no story of this request: trivet view ${this.hello.dir}`);
		return ask(`api/story?trial=${trial}&id=${encodeURIComponent(id)}`);
	}

	// send posts what changes a live stack. Its Error has detail, nginx's own lines, and status.
	async send(path, body) {
		const headers = { "Content-Type": "application/json", "X-Trivet-Token": this.token };
		return ask(path.replace(/^\//, ""), { method: "POST", headers, body: JSON.stringify(body) });
	}
}

// TAKE has what takes messages that belong to a trial.
const TAKE = {
	bins(t, m) {
		const { keep, width_ms } = t.info;
		const news = { end: 0, flows: {}, instances: {} };
		for (const bin of m.bins) {
			for (const [b, sign] of [[t.bins.get(bin.n), -1], [bin, 1]]) {
				count(t.total, b, sign);
				if (keep) countNews(news, b, sign);
			}
			t.bins.set(bin.n, bin);
			if (bin.n > t.last) t.last = bin.n;
			if (t.first < 0 || bin.n < t.first) t.first = bin.n;
			if (bin.n < t.dirty) t.dirty = bin.n;
		}
		news.end = t.end = (t.last + 1) * width_ms;
		if (keep && performance.now() - t.begun > SNAPSHOT) t.news.push(news);
		while (t.news[0]?.end <= t.end - KEPT_NEWS) t.news.shift();
		for (; keep && t.first < t.last + 1 - keep; t.first++) t.bins.delete(t.first);
	},
	event: (t, e) => insert(t.events, e, "n", t.info.keep ? KEPT_EVENTS : Infinity),
	state(t, s) {
		if (!t.states.has(s.instance)) t.states.set(s.instance, []);
		insert(t.states.get(s.instance), s, "at", t.info.keep ? KEPT_STATES : Infinity);
	},
	failures(t, m) {
		for (const f of m.requests) {
			if (t.failed.has(f.id)) continue; // A snapshot repeats what has come before.
			t.failed.add(f.id);
			t.failures.push(f);
		}
		while (t.info.keep && t.failures.length > KEPT_FAILURES) t.failed.delete(t.failures.shift().id);
	},
};

// insert puts an item into a list in the order of a key, in the place of one with the same; of too many the first is dropped.
function insert(list, item, key, most) {
	let i = list.length;
	while (i > 0 && list[i - 1][key] >= item[key]) i--;
	list.splice(i, list[i]?.[key] === item[key] ? 1 : 0, item);
	if (list.length > most) list.shift();
}

// ask is the JSON of the response to a request; it throws the error that is in it.
async function ask(url, options) {
	const response = await fetch(url, options).catch(() => {
		throw new Error("trivet has ended, or cannot be reached");
	});
	const body = await response.json().catch(() => ({}));
	if (response.ok) return body;
	const error = new Error(body.error || `trivet responded with ${response.status}`);
	throw Object.assign(error, { detail: body.detail ?? "", status: response.status });
}

function newTrial() {
	return {
		info: null, // the Trial message
		begun: performance.now(), // when the page got it
		bins: new Map(), // n → Bin
		first: -1, // the oldest n that is kept
		last: -1, // the newest n
		end: 0, // ms: the end of the newest bin
		dirty: Infinity, // the oldest n that changed since the charts were drawn; charts.js sets it back
		events: [], // by n; of a live stack the newest 500
		states: new Map(), // instance → States by time
		news: [], // of a live stack: what each message of bins added to the counts, in the last 5 s
		failures: [], // of a live stack the newest 200
		failed: new Set(), // IDs of failures
		total: {}, // flow → sums of COUNTS over all bins since the page was opened, those that are no longer kept included
	};
}

// count adds the counts of a bin to sums, or takes them away.
function count(total, bin, sign) {
	for (const flow in bin?.flows) add((total[flow] ??= zeros(COUNTS)), bin.flows[flow], sign);
}

// add adds to each field of sum that of a part, where it has one.
function add(sum, part, sign = 1) {
	for (const n in sum) sum[n] += sign * (part[n] ?? 0);
}

function zeros(names) {
	return Object.fromEntries(names.map((n) => [n, 0]));
}

// flowNews is what a live trial added to a flow in the last ms: requests that ended then, whenever they were planned. A request that waits for
// its deadline is in no newer bin, so a sum over the newest ones has none that fails in this way.
export function flowNews(trial, flow, ms) {
	const sum = addNews(trial, ms, zeros(COUNTS), (news) => news.flows[flow]);
	return { ...sum, failed: failedOf(sum) };
}

// instanceNews is the same of an instance's part of a flow.
export function instanceNews(trial, name, flow, ms) {
	return addNews(trial, ms, zeros(PARTS), (news) => news.instances[`${name} ${flow}`]);
}

function addNews(trial, ms, sum, of) {
	for (const news of trial.news) if (news.end > trial.end - ms && of(news)) add(sum, of(news));
	return sum;
}

// countNews does the same with what a message adds, also to each instance's part of each flow.
function countNews(news, bin, sign) {
	count(news.flows, bin, sign);
	for (const name in bin?.instances) {
		for (const flow in bin.instances[name]) add((news.instances[`${name} ${flow}`] ??= zeros(PARTS)), bin.instances[name][flow], sign);
	}
}

// binsBetween calls f with each bin of a trial that overlaps [from, to) in ms, the oldest first.
function binsBetween(trial, from, to, f) {
	const width = trial.info.width_ms;
	const last = Math.min(trial.last, Math.ceil(to / width) - 1);
	for (let n = Math.max(trial.first, Math.floor(from / width), 0); n <= last; n++) {
		const bin = trial.bins.get(n);
		if (bin) f(bin);
	}
}

// sumFlow is the sum of a flow over the bins of a trial that overlap [from, to) in ms: a Flow with failed (requests) and merged histograms.
export function sumFlow(trial, flow, from = 0, to = Infinity) {
	const sum = zeros(COUNTS);
	const latency = new Map();
	const failedLatency = new Map();
	binsBetween(trial, from, Math.min(to, trial.end), (bin) => {
		const part = bin.flows[flow];
		if (!part) return;
		add(sum, part);
		addHistogram(latency, part.latency);
		addHistogram(failedLatency, part.failed_latency);
	});
	return { ...sum, failed: failedOf(sum), latency: pairs(latency), failed_latency: pairs(failedLatency) };
}

// failedOf is how many requests of a Flow failed; those that were dropped are not among them.
export function failedOf(flow) {
	return (flow.instance_errors ?? 0) + (flow.nginx_errors ?? 0) + (flow.incomplete ?? 0);
}

// sumInstance is the same of an instance's part of a flow, or of all flows (null): an Instant, with open of the newest bin.
export function sumInstance(trial, name, flow = null, from = 0, to = Infinity) {
	const sum = { ...zeros(PARTS), open: 0 };
	binsBetween(trial, from, Math.min(to, trial.end), (bin) => {
		const parts = bin.instances?.[name];
		sum.open = 0;
		for (const f in parts) {
			if (flow === null || f === flow) add(sum, parts[f]);
		}
	});
	return sum;
}

export function stateAt(trial, instance, at) {
	return trial.states.get(instance)?.findLast((s) => s.at <= at) ?? UNKNOWN_STATE;
}

function addHistogram(sums, pairsOf) {
	for (let i = 0; pairsOf && i < pairsOf.length; i += 2) sums.set(pairsOf[i], (sums.get(pairsOf[i]) ?? 0) + pairsOf[i + 1]);
}

function pairs(sums) {
	return [...sums].sort((a, b) => a[0] - b[0]).flat();
}

// bucketMiddle is the time in µs that stands for all in a bucket of a histogram: within 1 % of each.
export function bucketMiddle(bucket) {
	return bucket <= 0 ? 1 : Math.pow(1.02, bucket - 0.5);
}

// percentile is the nearest rank of a histogram in µs, within 1 %; null without a sample. Q is from 0 to 1.
export function percentile(histogram, q) {
	let samples = 0;
	for (let i = 1; histogram && i < histogram.length; i += 2) samples += histogram[i];
	if (!samples) return null;
	let rank = Math.max(1, Math.ceil(q * samples - 1e-9));
	for (let i = 0; i < histogram.length; i += 2) {
		rank -= histogram[i + 1];
		if (rank <= 0) return bucketMiddle(histogram[i]);
	}
	return null;
}
