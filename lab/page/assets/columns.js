// What the charts draw of a trial, as columns: a row per bin, and one that closes the last. Arrays are kept, so that a page that runs for
// hours allocates nothing for them.
import { failedOf, bucketMiddle } from "./store.js";

const SECOND = 1000; // percentiles are those of the last second
const ENOUGH = 20; // requests that a ratio is of, on average: of several bins, at most a second, where one has fewer
const LONGEST = 5000; // milliseconds from which a percentile takes the samples that it needs, if a second has fewer

// PERCENTILES have their part of 1, and how many samples they need, as in the report.
export const PERCENTILES = [["p50", 0.5, 2], ["p90", 0.9, 10], ["p99", 0.99, 100]];

const STACK = ["ok", "instance_errors", "nginx_errors", "incomplete", "dropped"];
const RATIOS = ["nginx_attempts", "client_attempts", "failed_attempts"];
const BUCKETS = 1200;
const scratch = new Int32Array(BUCKETS);

export class Columns {
	constructor(trial, flows, kind) {
		this.trial = trial;
		this.capacity = 0;
		this.rows = 0;
		this.flows = {}; // flow → {name: Float64Array}
		this.kept = {}; // flow → percentile → Float64Array: by the number of the bin, modulo capacity
		this.shares = {}; // flow → instance → Float64Array
		this.kind = kind; // what shares are of: "ok" or "first"
		this.used = {}; // services that have any of it
		for (const f of flows) this.addFlow(f);
	}

	update() {
		const t = this.trial;
		if (t.last < 0) return;
		const rows = t.last - t.first + 2;
		if (rows > this.capacity) this.grow(rows);
		this.rows = rows;
		const width = t.info.width_ms;
		for (let i = 0; i < rows; i++) this.x[i] = (t.first + i) * width;
		for (const flow in this.flows) this.fillFlow(flow, rows - 1, 1000 / width);
		t.dirty = Infinity;
	}

	grow(rows) {
		this.capacity = this.trial.info.keep ? this.trial.info.keep + 2 : Math.max(64, rows, this.capacity * 2);
		if (this.capacity < rows) this.capacity = rows;
		this.x = new Float64Array(this.capacity);
		for (const flow in this.flows) this.addFlow(flow);
		this.trial.dirty = 0;
	}

	addFlow(flow) {
		const columns = (names) => Object.fromEntries(names.map((n) => [n, new Float64Array(this.capacity).fill(NaN)]));
		const percentiles = PERCENTILES.map(([name]) => name);
		this.flows[flow] = columns([...STACK, "failed", ...RATIOS, ...percentiles]);
		this.kept[flow] = columns(percentiles);
		this.shares[flow] = columns(this.trial.info.instances.map((i) => i.name));
		this.trial.dirty = 0;
	}

	fillFlow(flow, bins, perSecond) {
		const c = this.flows[flow];
		const { first, dirty } = this.trial;
		for (let i = 0; i < bins; i++) {
			const part = this.trial.bins.get(first + i)?.flows[flow];
			let sum = 0;
			for (const name of STACK) c[name][i] = sum += (part?.[name] ?? 0) * perSecond;
			c.failed[i] = part ? failedOf(part) + (part.dropped ?? 0) : 0;
			if (first + i >= dirty) this.keepPercentiles(flow, first + i);
			for (const [name] of PERCENTILES) c[name][i] = this.kept[flow][name][(first + i) % this.capacity];
		}
		this.fillRatios(c, flow, bins);
		this.fillShares(flow, bins);
		for (const column of Object.values({ ...c, ...this.shares[flow] })) column[bins] = column[bins - 1];
	}

	fillRatios(c, flow, bins) {
		const names = ["requests", "dropped", ...RATIOS];
		const part = (bin, name) => bin.flows[flow]?.[name];
		this.slide(bins, this.enough(flow, bins), names, part, (i, sums) => {
			const sent = sums[0] - sums[1];
			RATIOS.forEach((name, k) => (c[name][i] = sent > 0 ? sums[k + 2] / sent : NaN));
		});
	}

	// fillShares fills each instance's part of 1, of its service.
	fillShares(flow, bins) {
		const back = this.enough(flow, bins);
		const part = (bin, name) => bin.instances?.[name]?.[flow]?.[this.kind];
		for (const service of new Set(this.trial.info.instances.map((i) => i.service))) {
			const names = this.trial.info.instances.filter((i) => i.service === service).map((i) => i.name);
			this.slide(bins, back, names, part, (i, sums, all) => {
				if (all) this.used[service + this.kind] = true;
				names.forEach((name, k) => (this.shares[flow][name][i] = all ? sums[k] / all : NaN));
			});
		}
	}

	// slide calls f for each row with the sums of parts over so many bins, and the sum of these.
	slide(bins, back, names, part, f) {
		const sums = new Float64Array(names.length);
		let all = 0;
		const add = (i, sign) => {
			const bin = this.trial.bins.get(this.trial.first + i);
			for (let k = 0; bin && k < names.length; k++) {
				const n = sign * (part(bin, names[k]) ?? 0);
				sums[k] += n;
				all += n;
			}
		};
		for (let i = 0; i < bins; i++) {
			add(i, 1);
			if (i >= back) add(i - back, -1);
			f(i, sums, all);
		}
	}

	// lanes are [name, an equal share] of the instances of services that have any share.
	lanes() {
		const all = this.trial.info.instances;
		const used = all.filter((i) => this.used[i.service + this.kind]);
		return (used.length ? used : all).map((i) => [i.name, 1 / all.filter((o) => o.service === i.service).length]);
	}

	// back is how many bins are the last second.
	back() {
		return Math.max(1, Math.round(SECOND / this.trial.info.width_ms));
	}

	enough(flow, bins) {
		let requests = 0;
		let used = 0;
		for (let i = 0; i < bins; i++) {
			const n = this.trial.bins.get(this.trial.first + i)?.flows[flow]?.requests ?? 0;
			requests += n;
			if (n) used++;
		}
		return Math.max(1, Math.min(this.back(), Math.ceil((ENOUGH * used) / Math.max(1, requests))));
	}

	// keepPercentiles are those at the end of bin n: of the last second, or of more if that is too few for a p99.
	keepPercentiles(flow, n) {
		const least = n - this.back();
		const oldest = Math.max(this.trial.first - 1, n - Math.max(this.back(), Math.round(LONGEST / this.trial.info.width_ms)));
		let samples = 0;
		let low = BUCKETS;
		let high = -1;
		let from = n;
		for (; from > oldest && (from > least || samples < 100); from--) {
			const h = this.trial.bins.get(from)?.flows[flow]?.latency;
			for (let i = 0; h && i < h.length; i += 2) {
				const b = Math.min(h[i], BUCKETS - 1);
				scratch[b] += h[i + 1];
				samples += h[i + 1];
				if (b < low) low = b;
				if (b > high) high = b;
			}
		}
		const at = n % this.capacity;
		for (const [name, q, needed] of PERCENTILES) this.kept[flow][name][at] = samples < needed ? NaN : rankIn(low, high, Math.ceil(q * samples - 1e-9));
		scratch.fill(0, Math.max(0, low), high + 1);
	}

	// row is the row of a time in ms, or -1.
	row(at) {
		const i = Math.floor(at / this.trial.info.width_ms) - this.trial.first;
		return i >= 0 && i < this.rows - 1 ? i : -1;
	}

	// span is the first and the last row, the closing one included, of what is settled in a range in ms.
	span([from, to], settled) {
		const width = this.trial.info.width_ms;
		const low = Math.max(0, Math.floor(from / width) - this.trial.first);
		return [low, Math.min(this.rows - 1, Math.ceil(Math.min(to, settled) / width) - this.trial.first)];
	}
}

function rankIn(low, high, rank) {
	for (let b = low; b <= high; b++) {
		rank -= scratch[b];
		if (rank <= 0) return bucketMiddle(b);
	}
	return NaN;
}

// alike are the cells that share an axis with one: streams are few and long, and would hide the others.
export function alike(cells, cell) {
	return cells.filter((c) => (c.flow === "streams") === (cell.flow === "streams"));
}

// most is the largest value of a column between two rows, or 0.
export function most(column, [low, high]) {
	let max = 0;
	for (let i = low; i <= high; i++) if (column[i] > max) max = column[i];
	return max;
}

// leastAbove is the smallest above 0, or Infinity.
export function leastAbove(column, [low, high]) {
	let min = Infinity;
	for (let i = low; i <= high; i++) if (column[i] > 0 && column[i] < min) min = column[i];
	return min;
}
