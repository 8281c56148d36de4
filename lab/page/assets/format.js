// How numbers and times are written, the same in all views.

const counts = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 }); // Made once: it is slow to make.

// number writes a count: 12,345.
export function number(n) {
	return counts.format(n);
}

// plural writes a count of things: 1 stream, 12,345 streams.
export function plural(n, one, more = one + "s") {
	return `${number(n)} ${n === 1 ? one : more}`;
}

// rate writes a rate per second: 298/s, 2.5/s.
export function rate(perSecond) {
	return (perSecond < 10 && perSecond % 1 ? perSecond.toFixed(1) : number(perSecond)) + "/s";
}

// percent writes a part of 1: 33 %, 0.4 %.
export function percent(part) {
	const p = part * 100;
	return (p > 0 && p < 10 ? p.toFixed(1) : p.toFixed(0)) + " %";
}

// micros writes a time in µs with three significant digits: 412 µs, 1.25 ms, 2.01 s.
export function micros(us) {
	if (us === null || us === undefined || Number.isNaN(us)) return "–";
	if (us < 1000) return digits(us) + " µs";
	if (us < 1e6) return digits(us / 1e3) + " ms";
	return digits(us / 1e6) + " s";
}

// exactly writes a time of a trial in ms, to the millisecond: +6.204 s.
export function exactly(ms) {
	return `+${(ms / 1000).toFixed(3)} s`;
}

// microsBrief writes a round time without zeros: 30 ms.
export function microsBrief(us) {
	return micros(us).replace(/\.0+(?= )|(\.\d*[1-9])0+(?= )/, "$1");
}

function digits(x) {
	return x >= 100 || x === 0 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2);
}

// moment writes a time of a trial, in ms: +6.2 s; of a live stack the time of day.
export function moment(info, ms) {
	if (info && !info.experiment) return clock(new Date(Date.parse(info.begin) + ms));
	return "+" + (ms / 1000).toFixed(1) + " s";
}

// clock writes the time of day: 14:03:07.
export function clock(date) {
	return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0")).join(":");
}

export const FLOW_NAMES = { http: "HTTP", grpc: "gRPC", streams: "Streams" };

export function flowName(flow) {
	return FLOW_NAMES[flow] ?? flow;
}
