// When requests failed and when that was over: from the report of a run, otherwise from bins.
import { failedOf } from "./store.js";
import { actionsOf } from "./axis.js";

const ENTRY = "whoami"; // the service that clients' requests go to
const FAIR = 0.9; // each instance's part of an equal share, as in metrics.recovery

// recoveries are those of a flow for each phase of a run, or since each action of a live stack, if there was an action or a failure: {name, from,
// to, firstFailure, lastFailure, firstSuccess, fairSince, exact}, in ms of the trial or null.
export function recoveries(store, trial, flow) {
	const phases = reportPhases(store, trial);
	const spans = trial.info.phases.length ? trial.info.phases : actionSpans(trial);
	const all = spans.map((p, i) => fromReport(phases?.[i], flow, p) ?? fromBins(trial, flow, p));
	return all.filter((r, i) => r.firstFailure !== null || spans[i].do?.length);
}

function reportPhases(store, trial) {
	const { experiment, variant, number } = trial.info;
	const index = store.run?.experiments.findIndex((e) => e.name === experiment) ?? -1;
	const found = store.reports.get(index)?.variants.find((v) => v.name === variant);
	return found?.trials[number - 1]?.phases;
}

function fromReport(phase, flow, span) {
	const r = phase?.groups.find((g) => g.name === flow)?.metrics.recovery;
	if (!r) return null;
	const at = (ns) => (ns === null || ns === undefined ? null : span.from + ns / 1e6);
	return {
		name: span.name, from: span.from, to: span.to, exact: true,
		firstFailure: at(r.first_failure), lastFailure: at(r.last_failure), firstSuccess: at(r.first_success), fairSince: at(r.fair_since),
	};
}

// actionSpans are the times from each action of a live stack to the next, as far back as there are bins: what they say must not change
// when these are dropped, nor take longer the longer the page is open.
function actionSpans(trial) {
	const actions = actionsOf(trial).filter((e) => e.at >= trial.first * trial.info.width_ms);
	return actions.slice(-3).map((e, i, last) => ({ name: e.text, from: e.at, to: last[i + 1]?.at ?? trial.end, do: [e.text] }));
}

function fromBins(trial, flow, span) {
	const r = { name: span.name, from: span.from, to: span.to, exact: false, firstFailure: null, lastFailure: null, firstSuccess: null, fairSince: null };
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
	r.fairSince = fairSince(trial, flow, span);
	return r;
}

// fairSince is the begin of the whole second from which on each instance sent at least 90 % of an equal share of the OK responses, or one
// less than another.
function fairSince(trial, flow, span) {
	const perSecond = Math.max(1, Math.round(1000 / trial.info.width_ms));
	const first = Math.floor(span.from / trial.info.width_ms);
	const seconds = Math.floor((Math.min(span.to, trial.end) / trial.info.width_ms - first) / perSecond);
	let since = null;
	for (let s = seconds - 1; s >= 0 && fairBins(trial, flow, first + s * perSecond, perSecond); s--) since = (first + s * perSecond) * trial.info.width_ms;
	return since;
}

function fairBins(trial, flow, n, bins) {
	let requests = 0;
	for (let k = n; k < n + bins; k++) requests += trial.bins.get(k)?.flows[flow]?.requests ?? 0;
	if (!requests) return true; // Nothing was planned.
	const ok = trial.info.instances.filter((i) => i.service === ENTRY).map((i) => {
		let sum = 0;
		for (let k = n; k < n + bins; k++) sum += trial.bins.get(k)?.instances?.[i.name]?.[flow]?.ok ?? 0;
		return sum;
	});
	const all = ok.reduce((a, b) => a + b, 0);
	const smallest = Math.min(...ok);
	return all > 0 && (smallest >= (FAIR * all) / ok.length || smallest >= Math.max(...ok) - 1);
}
