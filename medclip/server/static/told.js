// What is said while something takes long, and when it went wrong.

export const megabytes = (bytes) => (bytes < 1e5 ? "under 0.1 MB" : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`);

/** What an answer that is none says of why: {detail} in JSON. */
export function fault(status, text) {
  try {
    const { detail } = JSON.parse(text);
    if (detail) return detail;
  } catch {
    // no JSON: a proxy's page, or nothing
  }
  return status ? `The server answered with status ${status}.` : "The server cannot be reached; see whether it still runs, and try again.";
}

/** A status line: what goes on is announced once, the count behind it is only shown. */
export class Doing {
  #timer = 0;

  constructor(element) {
    this.element = element;
  }

  /** Say what goes on; `count` gives what is shown behind it, asked for again every second. */
  say(text, count = null) {
    clearInterval(this.#timer);
    const shown = document.createElement("span");
    shown.ariaHidden = "true";
    this.element.replaceChildren(text, shown);
    this.count = () => { shown.textContent = count ? ` ${count()}` : ""; };
    this.count();
    if (count) this.#timer = setInterval(this.count, 1000);
  }

  /** The same with the seconds since now. */
  since(text) {
    const began = performance.now();
    this.say(text, () => `${Math.round((performance.now() - began) / 1000)} s`);
  }

  done(text = "") {
    this.say(text);
  }
}
