// One picture: a slice of a stack through a window, zoomed and moved, drawn when the screen is ready for it.

import { Stack } from "./stack.js";

const MOST = 40; // times the size that fits
const within = (value, least, most) => Math.min(Math.max(value, least), most);
const plain = (value) => Number(value.toPrecision(value >= 1000 || value <= -1000 ? 5 : 4)).toString();

export class Pane {
  zoom = 1; // of what fits into the pane
  across = 0; // by how much of its own width the picture is moved to the right
  down = 0;
  invert = false;
  place = 0.5; // in the stack, 0 first to 1 last
  #drawing = 0;
  #lut = new Uint32Array(65536);
  #made = ""; // what the table was made for
  #put = ""; // what stands on the sheet
  #sheet = document.createElement("canvas"); // the slice, pixel by pixel

  constructor(element, changed) {
    this.element = element;
    this.changed = changed;
    this.state = element.querySelector(".state");
    this.range = element.querySelector("input[type=range]");
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.role = "img";
    this.canvas.ariaLabel = element.querySelector("img").alt;
    this.canvas.setAttribute("aria-describedby", "keys");
  }

  async open() {
    const { slices, values } = this.element.dataset;
    this.stack = await Stack.open(slices, values);
    const { stack } = this;
    this.auto();
    stack.arrived = () => this.draw();
    const depth = stack.kind === "uint8" ? "8-bit grey" : "16-bit values";
    const size = `${stack.width} × ${stack.height}, ${depth}`;
    this.element.querySelector(".source").textContent = [`Shown: ${stack.source}`, size, ...stack.notes].join("; ");
    this.element.querySelector("img").replaceWith(this.canvas);
    Object.assign(this.range, { max: stack.slices, hidden: stack.slices < 2 });
    if (stack.slices > 1) this.place = Math.floor((stack.slices - 1) / 2) / (stack.slices - 1);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.draw();
    stack.loading.catch((error) => { this.failed = error.message; this.draw(); });
  }

  get number() {
    return Math.round(this.place * (this.stack.slices - 1));
  }

  /** Go so many slices on. */
  turn(count) {
    const last = this.stack.slices - 1;
    if (last) this.place = within(this.place + count / last, 0, 1);
  }

  auto() {
    const { centre, width } = this.stack.window;
    Object.assign(this, { centre, width });
  }

  /** The window, wider by a factor and higher by a share of its width. */
  shift(factor, share) {
    const least = this.stack.exact ? Math.abs(this.stack.scales[0][0]) : 1;
    this.width = Math.max(least, this.width * factor);
    this.centre += share * this.width;
  }

  /** Zoom about a point of the canvas, given as shares of it from its middle. */
  enlarge(factor, x = 0, y = 0) {
    const [wide, high] = this.#fit(), before = this.zoom;
    this.zoom = within(before * factor, 1 / 4, MOST);
    const { width, height } = this.canvas, moved = this.zoom / before;
    this.across = (x * width * (1 - moved)) / (wide * this.zoom) + this.across;
    this.down = (y * height * (1 - moved)) / (high * this.zoom) + this.down;
    this.#hold();
  }

  /** Move the picture by pixels of the screen. */
  move(x, y) {
    const [wide, high] = this.#fit();
    this.across += (x * devicePixelRatio) / (wide * this.zoom);
    this.down += (y * devicePixelRatio) / (high * this.zoom);
    this.#hold();
  }

  reset() {
    Object.assign(this, { zoom: 1, across: 0, down: 0, invert: false });
    this.auto();
  }

  #hold() {
    this.across = within(this.across, -0.5, 0.5);
    this.down = within(this.down, -0.5, 0.5);
  }

  /** Width and height of the whole picture on the canvas, in its pixels, where it fits. */
  #fit() {
    const { width, height, aspect } = this.stack, high = height * aspect;
    const scale = Math.min(this.canvas.width / width, this.canvas.height / high);
    return [width * scale, high * scale];
  }

  /** The value under a point of the canvas, given as shares of it from its middle; null beside the picture. */
  under(x, y) {
    const { stack, canvas, zoom } = this, [wide, high] = this.#fit();
    const column = Math.floor(((x * canvas.width) / (wide * zoom) - this.across + 0.5) * stack.width);
    const row = Math.floor(((y * canvas.height) / (high * zoom) - this.down + 0.5) * stack.height);
    const values = stack.values(this.number);
    if (!values || column < 0 || row < 0 || column >= stack.width || row >= stack.height) return null;
    return stack.value(values[row * stack.width + column], this.number);
  }

  draw() {
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#paint();
    });
  }

  /** What a stored value looks like, for every one there is. */
  #table() {
    const { stack, centre, width } = this, [slope, intercept] = stack.scales[this.number];
    const dark = stack.inverted !== this.invert, key = [slope, intercept, centre, width, dark].join();
    if (key === this.#made) return key;
    const [middle, half] = stack.exact ? [centre, width / 2] : [centre - 0.5, Math.max(width - 1, 1e-9) / 2];
    const count = stack.kind === "uint8" ? 256 : 65536, step = (255 * slope) / (2 * half);
    const start = (255 * (intercept - middle + half)) / (2 * half);
    for (let i = 0; i < count; i++) {
      const shown = start + step * (stack.signed && i > 32767 ? i - 65536 : i);
      const grey = shown <= 0 ? 0 : shown >= 255 ? 255 : (shown + 0.5) | 0;
      this.#lut[i] = 0xff000000 | ((dark ? 255 - grey : grey) * 0x010101);
    }
    this.#made = key;
    return key;
  }

  #paint() {
    const { canvas, stack } = this, number = this.number, values = stack.values(number);
    const width = Math.round(canvas.clientWidth * devicePixelRatio), height = Math.round(canvas.clientHeight * devicePixelRatio);
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    if (values) this.#develop(values, number);
    const pen = canvas.getContext("2d", { alpha: false });
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, width, height);
    const [fitWide, fitHigh] = this.#fit(), wide = fitWide * this.zoom, high = fitHigh * this.zoom;
    if (values) {
      pen.imageSmoothingEnabled = wide < 3 * stack.width; // larger ones show their pixels
      pen.drawImage(this.#sheet, (width - wide) / 2 + this.across * wide, (height - high) / 2 + this.down * high, wide, high);
    }
    this.range.value = number + 1;
    this.range.ariaValueText = `slice ${number + 1} of ${stack.slices}`;
    this.#tell(wide / stack.width, Boolean(values));
  }

  #develop(values, number) {
    const { stack } = this, key = `${this.#table()}/${number}`;
    if (key === this.#put) return;
    const { width, height } = stack;
    if (this.#sheet.width !== width || !this.image) {
      Object.assign(this.#sheet, { width, height });
      this.image = new ImageData(width, height);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    const lut = this.#lut, { words } = this;
    for (let i = 0; i < values.length; i++) words[i] = lut[values[i]];
    this.#sheet.getContext("2d", { willReadFrequently: true }).putImageData(this.image, 0, 0);
    this.#put = key;
  }

  #tell(scale, there) {
    const { stack } = this, parts = [];
    if (stack.slices > 1) parts.push(`slice ${this.number + 1} of ${stack.slices}`);
    if (!there) parts.push(this.failed ?? "on its way");
    else if (stack.there < stack.slices) parts.push(this.failed ?? `${stack.there} are here`);
    const unit = stack.hounsfield ? " HU" : "";
    parts.push(`window: centre ${plain(this.centre)}, width ${plain(this.width)}${unit}`);
    parts.push(`shown at ${Math.round(scale * 100)} %`);
    if (this.invert) parts.push("inverted");
    if (this.pointed != null) parts.push(`value ${plain(this.pointed)}${unit}`);
    this.state.textContent = parts.join(" · ");
    this.changed();
  }
}
