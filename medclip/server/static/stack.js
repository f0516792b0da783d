// A scan's slices: what is told of them, and their values, which come in blocks around the slice that is looked at.

import { fault } from "./told.js";

const BLOCK = 4e6; // bytes that are asked for at once
const KINDS = { uint8: Uint8Array, int16: Uint16Array, uint16: Uint16Array }; // signed ones are looked up by their bits

async function asked(address) {
  const answer = await fetch(address, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(fault(answer.status, await answer.text()));
  return answer;
}

/** A thumbnail's pixels, which the browser decodes. */
async function pixels(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  const { naturalWidth: width, naturalHeight: height } = picture;
  const pen = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  pen.drawImage(picture, 0, 0);
  const grey = pen.getImageData(0, 0, width, height).data.filter((_, i) => i % 4 === 0);
  return { width, height, values: new Uint8Array(grey) };
}

export class Stack {
  #slices = []; // values of each, once they are there
  #wanted = 0;
  #address;
  arrived = () => {};

  constructor(told, address) {
    Object.assign(this, told);
    this.signed = told.kind === "int16";
    this.#address = address;
  }

  /** What is behind a pane's addresses. */
  static async open(slices, values) {
    const told = await (await asked(slices)).json();
    if (!told.picture) {
      const stack = new Stack(told, values);
      stack.loading = stack.#load();
      return stack;
    }
    const { width, height, values: pixel } = await pixels(told.picture);
    const stack = new Stack({
      ...told, width, height, slices: 1, kind: "uint8", scales: [[1, 0]], window: { centre: 128, width: 256, origin: "grey" },
      exact: false, inverted: false, hounsfield: false, presets: [], aspect: 1, notes: [`shrunk to ${width} × ${height}`],
    }, "");
    stack.#slices[0] = pixel;
    stack.loading = Promise.resolve();
    return stack;
  }

  /** A slice's values; null until they are there, for which they are asked for next. */
  values(number) {
    this.#wanted = number;
    return this.#slices[number] ?? null;
  }

  get there() {
    return this.#slices.reduce((count) => count + 1, 0);
  }

  async #load() {
    const Kind = KINDS[this.kind], size = this.width * this.height, bytes = size * Kind.BYTES_PER_ELEMENT;
    const step = Math.max(1, Math.floor(BLOCK / bytes)), open = new Set();
    for (let first = 0; first < this.slices; first += step) open.add(first);
    this.#wanted ||= Math.floor((this.slices - 1) / 2);
    while (open.size) {
      const first = [...open].reduce((a, b) => (this.#off(a, step) <= this.#off(b, step) ? a : b));
      open.delete(first);
      const last = Math.min(first + step, this.slices);
      const content = await (await asked(`${this.#address}&first=${first}&last=${last}`)).arrayBuffer();
      if (content.byteLength !== (last - first) * bytes) throw new Error("The slices did not arrive whole; load the page again.");
      for (let n = first; n < last; n++) this.#slices[n] = new Kind(content, (n - first) * bytes, size);
      this.arrived();
    }
  }

  /** How far a block is from the slice that is looked at. */
  #off(first, step) {
    return Math.max(0, first - this.#wanted, this.#wanted - (first + step - 1));
  }

  /** A stored value in the units of the modality. */
  value(stored, number) {
    const [slope, intercept] = this.scales[number];
    return (this.signed && stored > 32767 ? stored - 65536 : stored) * slope + intercept;
  }
}
