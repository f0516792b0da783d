// A rectangle on the query's scan: drawn with the pointer or by keyboard, and then the question is asked again by it.

const LEAST = 16; // pixels of a region that the server takes
const STEP = 0.02; // of a picture's side that a key moves

/** The region in the address: {scan, box} in shares of the picture; null where it has none, or is of another slice. */
function applied() {
  const found = /^(\d+):([\d.,e-]+)$/.exec(new URLSearchParams(location.search).get("region") ?? "");
  const box = found?.[2].split(",").map(Number);
  return box?.length === 4 && box.every(Number.isFinite) ? { scan: found[1], box } : null;
}

const short = (share) => Number(share.toFixed(4));
const within = (value, least, most) => Math.min(Math.max(value, least), most);

/** One scan that can be marked. */
class Mark {
  constructor(place) {
    this.scan = place.dataset.scan;
    this.picture = place.querySelector("img");
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.role = "application";
    this.canvas.ariaLabel = `Scan ${this.scan}: mark a region to search by`;
    this.canvas.setAttribute("aria-describedby", "region-hint");
    this.tools = document.createElement("p");
    this.tools.className = "again";
    this.search = this.#button("Search by this region", () => this.go(this.box));
    this.#button("Clear", () => this.clear());
    this.said = document.createElement("span");
    this.said.className = "small";
    this.said.role = "status";
    this.tools.append(this.said);
    place.append(this.canvas);
    place.after(this.tools);
    const now = applied();
    this.there = now?.scan === this.scan ? now.box : null; // by which the page was asked
    this.show(this.there);
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
    this.#listen();
  }

  #button(text, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", act);
    this.tools.append(button);
    return button;
  }

  /** Least width and height of a box, in shares. */
  get least() {
    return [LEAST / this.picture.naturalWidth, LEAST / this.picture.naturalHeight];
  }

  show(box) {
    this.box = box;
    this.tools.hidden = !box;
    this.search.disabled = box === this.there;
    if (box) {
      const [left, top, right, bottom] = box.map((share) => Math.round(share * 100));
      const words = box === this.there ? "Searched by this region" : "Region";
      this.said.textContent = `${words}: ${left} to ${right} % across, ${top} to ${bottom} % down`;
    }
    this.#draw();
  }

  /** Ask again, with a region or without. */
  go(box) {
    const asked = new URLSearchParams(location.search);
    asked.delete("region");
    if (box) asked.set("region", `${this.scan}:${box.map(short).join(",")}`);
    location.assign(`${location.pathname}${asked.size ? `?${asked}` : ""}`);
  }

  clear() {
    if (this.there) this.go(null);
    else this.show(null);
    this.canvas.focus();
  }

  #listen() {
    const { canvas } = this;
    const at = (event) => {
      const place = canvas.getBoundingClientRect();
      return [within((event.clientX - place.left) / place.width, 0, 1), within((event.clientY - place.top) / place.height, 0, 1)];
    };
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      from = at(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = at(event), [wide, high] = this.least;
      const box = [0, 1].map((i) => Math.min(from[i], to[i])).concat([0, 1].map((i) => Math.max(from[i], to[i])));
      if (box[2] - box[0] >= wide && box[3] - box[1] >= high) this.show(box);
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { from = null; });
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const across = { ArrowLeft: -STEP, ArrowRight: STEP }[event.key] ?? 0;
    const down = { ArrowUp: -STEP, ArrowDown: STEP }[event.key] ?? 0;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (across || down) this.show(this.#moved(across, down, event.shiftKey));
    else if (event.key === "Enter" && this.box && !this.search.disabled) this.go(this.box);
    else if (event.key === "Escape" && this.box) this.clear();
    else return;
    event.preventDefault();
  }

  #moved(across, down, resize) {
    if (!this.box) return [0.25, 0.25, 0.75, 0.75];
    const [left, top, right, bottom] = this.box, [wide, high] = this.least;
    if (resize) return [left, top, within(right + across, left + wide, 1), within(bottom + down, top + high, 1)];
    const x = within(across, -left, 1 - right), y = within(down, -top, 1 - bottom);
    return [left + x, top + y, right + x, bottom + y];
  }

  #draw() {
    const { canvas } = this, scale = devicePixelRatio;
    const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    if (!this.box) return;
    const [left, top, right, bottom] = this.box.map((share, i) => share * (i % 2 ? height : width));
    pen.fillStyle = "#0008";
    pen.fillRect(0, 0, width, height);
    pen.clearRect(left, top, right - left, bottom - top);
    for (const [colour, line] of [["#000", 4], ["#ffd54a", 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = line * scale;
      pen.strokeRect(left, top, right - left, bottom - top);
    }
  }
}

for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
for (const place of document.querySelectorAll(".mark[data-scan]")) {
  const picture = place.querySelector("img");
  picture.decode().then(() => new Mark(place), () => {}); // a picture that does not come can bear no mark
}
