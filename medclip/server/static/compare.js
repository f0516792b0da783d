// Two pictures side by side, in step: by pointer, by keys and by buttons.

import { Pane } from "./pane.js";

const by = (id) => document.getElementById(id);
const main = document.querySelector("main.compare"), step = by("step"), said = by("said");
const WHEEL = 40; // pixels of a wheel that are one slice
const MOVE = 40; // pixels that a key moves
let telling = 0;

function tell() { // once things stand still: a screen reader would drown in every step
  clearTimeout(telling);
  telling = setTimeout(() => {
    const about = (pane) => `${pane.canvas.ariaLabel}: ${pane.state.textContent}`;
    said.textContent = (step.checked ? panes : [active]).filter((pane) => pane.stack).map(about).join(". ");
  }, 600);
}

const panes = [...document.querySelectorAll(".pane")].map((element) => new Pane(element, tell));
let active = panes[0];

function choose(pane) {
  active = pane;
  for (const one of panes) one.element.classList.toggle("active", one === pane);
}

const ready = () => panes.filter((pane) => pane.stack);
const together = () => (step.checked ? ready() : ready().filter((pane) => pane === active));

function each(act) {
  for (const pane of together()) {
    act(pane);
    pane.draw();
  }
}

/** Turn the active one by slices, the others by the same share of theirs. */
function turn(count) {
  const before = active.place;
  if (!active.stack) return;
  active.turn(count);
  each((pane) => { if (pane !== active && pane.stack.slices > 1) pane.place = Math.min(Math.max(pane.place + active.place - before, 0), 1); });
}

/** One window for all where all are in Hounsfield units; else each changes as much of its own. */
function shift(factor, share) {
  if (!active.stack) return;
  active.shift(factor, share);
  each((pane) => {
    if (pane === active) return;
    if (pane.stack.hounsfield && active.stack.hounsfield) Object.assign(pane, { centre: active.centre, width: active.width });
    else pane.shift(factor, share);
  });
}

function preset(number) {
  each((pane) => {
    const chosen = pane.stack.presets[number];
    if (chosen) Object.assign(pane, { centre: chosen.centre, width: chosen.width });
  });
}

const acts = {
  earlier: () => turn(-1),
  later: () => turn(1),
  auto: () => each((pane) => pane.auto()),
  narrower: () => shift(0.9, 0),
  wider: () => shift(1 / 0.9, 0),
  brighter: () => shift(1, -0.05),
  darker: () => shift(1, 0.05),
  invert: () => each((pane) => { pane.invert = !pane.invert; }),
  closer: () => each((pane) => pane.enlarge(1.25)),
  farther: () => each((pane) => pane.enlarge(0.8)),
  left: () => each((pane) => pane.move(-MOVE, 0)),
  right: () => each((pane) => pane.move(MOVE, 0)),
  up: () => each((pane) => pane.move(0, -MOVE)),
  down: () => each((pane) => pane.move(0, MOVE)),
  reset: () => each((pane) => pane.reset()),
};
const KEYS = {
  ArrowLeft: acts.earlier, ArrowUp: acts.earlier, ArrowRight: acts.later, ArrowDown: acts.later,
  PageUp: () => turn(-10), PageDown: () => turn(10), Home: () => turn(-1e6), End: () => turn(1e6),
  "[": acts.narrower, "]": acts.wider, "{": acts.brighter, "}": acts.darker,
  "+": acts.closer, "=": acts.closer, "-": acts.farther, i: acts.invert, r: acts.reset, 0: acts.auto,
  s: () => { step.checked = !step.checked; tell(); },
};
const SHIFTED = { ArrowLeft: acts.left, ArrowRight: acts.right, ArrowUp: acts.up, ArrowDown: acts.down };
let space = false; // held down

main.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.altKey || event.metaKey || target.matches("select, a")) return;
  if (target.matches("input[type=range]") && /^(Arrow|Page|Home|End)/.test(key)) return; // its own keys
  if (key === " " && target.matches("canvas")) space = true;
  else {
    const act = (event.shiftKey && SHIFTED[key]) || KEYS[key] || KEYS[key.toLowerCase()] || (/^[1-9]$/.test(key) && (() => preset(key - 1)));
    if (!act) return;
    act();
  }
  event.preventDefault();
});
window.addEventListener("keyup", (event) => { if (event.key === " ") space = false; });
window.addEventListener("blur", () => { space = false; });

function listen(pane) {
  const { canvas } = pane;
  let from = null;
  const share = (event) => {
    const place = canvas.getBoundingClientRect();
    return [(event.clientX - place.left) / place.width - 0.5, (event.clientY - place.top) / place.height - 0.5];
  };
  pane.element.addEventListener("focusin", () => choose(pane));
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    choose(pane);
    from = { x: event.clientX, y: event.clientY, move: space || event.altKey || event.button === 1 };
    canvas.classList.toggle("moving", from.move);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) {
      pane.pointed = pane.under(...share(event));
      pane.draw();
      return;
    }
    const x = event.clientX - from.x, y = event.clientY - from.y;
    [from.x, from.y] = [event.clientX, event.clientY];
    if (from.move) each((one) => one.move(x, y));
    else shift(2 ** (x / 150), y / 300);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => { from = null; canvas.classList.remove("moving"); });
  }
  canvas.addEventListener("pointerleave", () => { pane.pointed = null; pane.draw(); });
  let rest = 0;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    choose(pane);
    const turned = (event.deltaY || event.deltaX) * (event.deltaMode === 1 ? 20 : 1); // Shift makes some wheels go across
    if (event.shiftKey || event.ctrlKey) { // a pinch comes with Ctrl
      const at = share(event);
      each((one) => one.enlarge(2 ** (-turned / 400), ...at));
      return;
    }
    rest += Math.sign(turned) * Math.min(Math.abs(turned), 3 * WHEEL);
    const count = Math.trunc(rest / WHEEL);
    rest -= count * WHEEL;
    if (count) turn(Math.sign(count));
  }, { passive: false });
  pane.range.addEventListener("input", () => {
    choose(pane);
    turn(pane.range.value - 1 - pane.number);
  });
}

function presets() {
  const found = ready().map((pane) => pane.stack.presets).find((some) => some.length) ?? [];
  by("presets").replaceChildren(...found.map(({ name, centre, width }, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name[0].toUpperCase() + name.slice(1);
    button.title = `centre ${centre}, width ${width} HU: ${number + 1}`;
    button.addEventListener("click", () => preset(number));
    return button;
  }));
}

for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", acts[button.dataset.act]);
step.addEventListener("change", tell);
choose(active);
for (const pane of panes) {
  pane.state.textContent = "The scan is being read …";
  pane.open().then(() => {
    listen(pane);
    presets();
    if (pane === panes[0] && document.activeElement === document.body) pane.canvas.focus({ preventScroll: true });
  }, (error) => { pane.state.textContent = error.message; });
}
