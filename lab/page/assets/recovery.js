// When requests failed and when that was over: from the report of a run, otherwise from bins.
import { failedOf, sumInstance } from "./store.js";
import { actionsOf } from "./axis.js";

const ENTRY = "whoami"; // the service that clients' requests go to
const FAIR = 0.9; // each instance's part of an equal share, as in metrics.recovery
const ENOUGH_FAIR = 10; // OK responses per second and instance: of fewer, shares are even by chance

// recoveries are those of a flow for each phase of a run, or since each action of a live stack, if there was an action or a failure: {name, from,
// to, firstFailure, lastFailure, firstSuccess, fairSince, exact, few}, in ms of the trial or null. Few: shares are even, of too few responses to
// judge that.
export function recoveries(store, trial, flow) {
	const phases = reportPhases(store, trial);
	const spans = trial.info.phases.length ? trial.info.phases : actionSpans(trial);
	const all = spans.map((p, i) => fromReport(phases?.[i], flow, trial.info, p) ?? fromBins(trial, flow, p));
	return all.filter((r, i) => r.firstFailure !== null || spans[i].do?.length);
}

function reportPhases(store, trial) {
	const { experiment, variant, number } = trial.info;
	const index = store.run?.experiments.findIndex((e) => e.name === experiment) ?? -1;
	const found = store.reports.get(index)?.variants.find((v) => v.name === variant);
	return found?.trials[number - 1]?.phases;
}

function fromReport(phase, flow, info, span) {
	const name = groupOf(info.loads, flow);
	const r = phase?.groups.find((g) => g.name === name)?.metrics.recovery;
	if (!r) return null;
	const at = (ns) => (ns === null || ns === undefined ? null : span.from + ns / 1e6);
	return {
		name: span.name, from: span.from, to: span.to, exact: true,
		firstFailure: at(r.first_failure), lastFailure: at(r.last_failure), firstSuccess: at(r.first_success), ...judged(info, at(r.fair_since), r.fair_responses),
	};
}

// groupOf is the group of the report that has just the requests of a flow: its protocol, or its only load; "" if there is none.
function groupOf(loads, flow) {
	if (flow === "http") return flow;
	const own = loads.filter((l) => l.flow === flow);
	if (loads.every((l) => l.flow === "http" || own.includes(l))) return "grpc";
	return own.length === 1 && own[0].name !== "grpc" ? own[0].name : "";
}

// entries are the instances that clients' requests go to.
const entries = (info) => info.instances.filter((i) => i.service === ENTRY);

function judged(info, since, responses) {
	const few = since !== null && responses < ENOUGH_FAIR * entries(info).length;
	return { fairSince: few ? null : since, few };
}

// actionSpans are the times from each action of a live stack to the next, as far back as there are bins: what they say must not change
// when these are dropped, nor take longer the longer the page is open.
function actionSpans(trial) {
	const actions = actionsOf(trial).filter((e) => e.at >= trial.first * trial.info.width_ms);
	return actions.slice(-3).map((e, i, last) => ({ name: e.text, from: e.at, to: last[i + 1]?.at ?? trial.end, do: [e.text] }));
}

function fromBins(trial, flow, span) {
	const r = { name: span.name, from: span.from, to: span.to, exact: false, firstFailure: null, lastFailure: null, firstSuccess: null };
	const width = trial.info.width_ms;
	for (let n = Math.floor(span.from / width); n * width < Math.min(span.to, trial.end); n++) {
		const part = trial.bins.get(n)?.flows[flow];
		if (!part) continue;
		if (failedOf(part)) {
			r.firstFailure ??= n * width;
			r.lastFailure = (n + 1) * width;
			r.firstSuccess = null;
		} else if (part.ok && r.lastFailure !== null) r.firstSuccess ??= n * width;
	}
	return Object.assign(r, fairSince(trial, flow, span));
}

// fairSince is the begin of the whole second from which on each instance sent at least 90 % of an equal share of the OK responses, or one
// less than another.
function fairSince(trial, flow, span) {
	const perSecond = Math.max(1, Math.round(1000 / trial.info.width_ms));
	const first = Math.floor(span.from / trial.info.width_ms);
	const seconds = Math.floor((Math.min(span.to, trial.end) / trial.info.width_ms - first) / perSecond);
	let since = null;
	let least = Infinity;
	for (let s = seconds - 1; s >= 0; s--) {
		const ok = fairBins(trial, flow, first + s * perSecond, perSecond);
		if (ok < 0) break;
		least = Math.min(least, ok);
		since = (first + s * perSecond) * trial.info.width_ms;
	}
	return judged(trial.info, since, least);
}

// fairBins is how many OK responses there were, or -1 if they were not shared evenly.
function fairBins(trial, flow, n, bins) {
	const width = trial.info.width_ms;
	let requests = 0;
	for (let k = n; k < n + bins; k++) requests += trial.bins.get(k)?.flows[flow]?.requests ?? 0;
	const ok = entries(trial.info).map((i) => sumInstance(trial, i.name, flow, n * width, (n + bins) * width).ok);
	const all = ok.reduce((a, b) => a + b, 0);
	const smallest = Math.min(...ok);
	return !requests || (all > 0 && (smallest >= (FAIR * all) / ok.length || smallest >= Math.max(...ok) - 1)) ? all : -1;
}
