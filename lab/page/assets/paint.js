// How our code draws on a canvas: the page's colors and font, hatches, and a surface with two axes.

const TOKENS = ["surface", "raised", "sunken", "line", "edge", "text", "quiet", "http", "grpc", "streams", "bad", "good", "warn"];
const theme = { colors: null, patterns: new Map(), rem: 16 };

// palette has the colors of the theme as a canvas takes them.
export function palette() {
	if (theme.colors) return theme.colors;
	theme.colors = {};
	const probe = document.body.appendChild(document.createElement("i"));
	probe.style.forcedColorAdjust = "none"; // Otherwise all are the same where the reader's system sets colors.
	for (const name of TOKENS) {
		probe.style.color = `var(--${name})`;
		theme.colors[name] = getComputedStyle(probe).color;
	}
	theme.rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
	probe.remove();
	return theme.colors;
}

// forgetPalette is for another theme or size of text.
export function forgetPalette() {
	theme.colors = null;
	theme.patterns.clear();
}

export function rems(n) {
	return n * theme.rem * devicePixelRatio;
}

export function canvasFont(size = 0.75) {
	return `${Math.round(rems(size))}px system-ui, "Noto Sans", "Liberation Sans", sans-serif`;
}

// blend mixes a color with that of the plot's background, so that a fill stays calm beside its line.
export function blend(color, part) {
	return `color-mix(in srgb, ${color} ${Math.round(part * 100)}%, ${palette().raised})`;
}

// hatch is a fill that differs without color: "solid", "lines", "cross" or "dots".
export function hatch(kind, color) {
	if (kind === "solid") return color;
	const key = kind + color;
	if (!theme.patterns.has(key)) theme.patterns.set(key, drawHatch(kind, color));
	return theme.patterns.get(key);
}

function drawHatch(kind, color) {
	const size = Math.round(6 * devicePixelRatio);
	const tile = Object.assign(document.createElement("canvas"), { width: size, height: size });
	const ctx = tile.getContext("2d");
	ctx.fillStyle = palette().raised;
	ctx.fillRect(0, 0, size, size);
	ctx.strokeStyle = ctx.fillStyle = color;
	ctx.lineWidth = size / 4;
	for (const d of kind === "dots" ? [] : [-size, 0, size]) {
		stroke(ctx, d, size, d + size, 0);
		if (kind === "cross") stroke(ctx, d, 0, d + size, size);
	}
	if (kind === "dots") ctx.fillRect(size / 4, size / 4, size / 2.5, size / 2.5);
	return ctx.createPattern(tile, "repeat");
}

// stroke draws straight lines from point to point.
export function stroke(ctx, x, y, ...points) {
	ctx.beginPath();
	ctx.moveTo(x, y);
	for (let i = 0; i < points.length; i += 2) ctx.lineTo(points[i], points[i + 1]);
	ctx.stroke();
}

// outlined writes a text that stays readable over lines.
export function outlined(ctx, text, x, y) {
	ctx.lineWidth = 3 * devicePixelRatio;
	ctx.strokeStyle = palette().raised;
	ctx.lineJoin = "round";
	ctx.strokeText(text, x, y);
	ctx.fillText(text, x, y);
}

// Surface is a canvas with a plot area between two axes. All of a width have the same margins, so their times lie below each other.
export class Surface {
	constructor(canvas) {
		this.canvas = canvas;
		this.ctx = canvas.getContext("2d");
		this.range = [0, 1];
		this.log = null; // the logarithms of both ends of y, if y is logarithmic
		this.ends = [0, 1];
	}

	// begin clears it, and sets what both axes reach; false if it has no size.
	begin(range, ends, log) {
		const { clientWidth, clientHeight } = this.canvas;
		if (!clientWidth) return false;
		palette();
		const px = devicePixelRatio;
		const [width, height] = [Math.round(clientWidth * px), Math.round(clientHeight * px)];
		if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
		else this.ctx.clearRect(0, 0, width, height);
		const left = Math.round(rems(4.6));
		const top = Math.round(rems(0.4));
		this.box = { left, top, width: width - left - Math.round(rems(1)), height: height - top - Math.round(rems(1.4)) };
		Object.assign(this, { range, ends, log: log ? ends.map(Math.log) : null });
		return true;
	}

	x(value) {
		return this.box.left + ((value - this.range[0]) / (this.range[1] - this.range[0])) * this.box.width;
	}

	y(value) {
		const [low, high] = this.log ?? this.ends;
		return this.box.top + (1 - ((this.log ? Math.log(value) : value) - low) / (high - low)) * this.box.height;
	}

	// axes draws grid and labels; ticks are [value, text].
	axes(across, up, lines = true) {
		const { ctx, box } = this;
		const bottom = box.top + box.height;
		ctx.font = canvasFont();
		ctx.lineWidth = devicePixelRatio;
		ctx.strokeStyle = palette().line;
		ctx.fillStyle = palette().quiet;
		ctx.textBaseline = "top";
		for (const [value, text] of across) {
			const at = Math.round(this.x(value)) + 0.5;
			stroke(ctx, at, box.top, at, bottom);
			const half = ctx.measureText(text).width / 2;
			ctx.fillText(text, Math.min(at, this.canvas.width - half - 1) - half, bottom + rems(0.3));
		}
		ctx.textBaseline = "middle";
		for (const [value, text] of up) {
			const at = Math.round(this.y(value)) + 0.5;
			if (lines) stroke(ctx, box.left, at, box.left + box.width, at);
			ctx.fillText(text, box.left - rems(0.35) - ctx.measureText(text).width, at);
		}
	}

	inside(draw) {
		const { ctx, box } = this;
		ctx.save();
		ctx.beginPath();
		ctx.rect(box.left, box.top, box.width, box.height);
		ctx.clip();
		draw();
		ctx.restore();
	}
}

const SPANS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 864e5];

// timeTicks are times in a range of ms that are round once offset is added, at most so many.
export function timeTicks([from, to], most, offset) {
	const step = SPANS.find((s) => (to - from) / s <= most) ?? (to - from) / 2;
	const ticks = [];
	for (let t = Math.ceil((from + offset) / step) * step - offset; t <= to; t += step) ticks.push(t);
	return ticks;
}

// niceTicks are from 0 to max.
export function niceTicks(max, wanted = 3) {
	const ten = Math.pow(10, Math.floor(Math.log10(max / wanted)));
	const step = [1, 2, 2.5, 5, 10].map((f) => f * ten).find((s) => s >= (max / wanted) * 0.999);
	const ticks = [];
	for (let v = 0; v <= max * 1.0001; v += step) ticks.push(v);
	return ticks;
}

// logTicks are 1, 2 and 5 times the powers of ten between min and max; of many only some.
export function logTicks(min, max) {
	const steps = max / min > 2000 ? [1] : max / min > 60 ? [1, 3] : [1, 2, 5];
	const ticks = [];
	for (let ten = Math.pow(10, Math.floor(Math.log10(min))); ten <= max; ten *= 10) {
		for (const s of steps) if (s * ten >= min && s * ten <= max) ticks.push(s * ten);
	}
	return ticks;
}
