// Files that were chosen or dropped, in a list from which each can be taken back.

import { megabytes } from "./told.js";

const left = (name) => name.startsWith(".") || name === "DICOMDIR" || name === "Thumbs.db"; // no scan, in every export

/** A list of what will be sent. */
export class Taken {
  #items = []; // {name, files, note}

  constructor(list, told) {
    this.list = list;
    this.changed = told;
  }

  get files() {
    return this.#items.filter((one) => !one.note).flatMap((one) => one.files);
  }

  get bytes() {
    return this.files.reduce((sum, file) => sum + file.size, 0);
  }

  /** Add files as one line, such as those of a folder. */
  add(name, files) {
    if (!files.length) return;
    this.#items.push({ name, files: [...files], note: "" });
    this.#show();
  }

  /** Send none of what is there now; it stays in the list with a note of why. */
  spend(note) {
    for (const one of this.#items) one.note ||= note;
    this.#show();
  }

  #show() {
    this.list.replaceChildren(...this.#items.map((one, place) => {
      const line = document.createElement("li");
      const size = megabytes(one.files.reduce((sum, file) => sum + file.size, 0));
      const count = one.files.length > 1 ? `${one.files.length} files, ` : "";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Take back";
      button.ariaLabel = `Take back ${one.name}`;
      button.addEventListener("click", () => {
        this.#items.splice(place, 1);
        this.#show();
        (this.list.querySelectorAll("button")[Math.min(place, this.#items.length - 1)] ?? this.after)?.focus();
      });
      line.append(`${one.name} (${count}${size})${one.note ? ` – ${one.note}` : ""}`, button);
      return line;
    }));
    this.changed();
  }
}

/** The files of an input: those of a folder as one line. Returns how many were left out. */
export function takeChosen(input, taken) {
  const files = [...input.files];
  const kept = files.filter((file) => !left(file.name));
  const folder = (file) => file.webkitRelativePath.split("/")[0];
  if (input.webkitdirectory && kept.length) taken.add(folder(kept[0]), kept);
  else for (const file of kept) taken.add(file.name, [file]);
  input.value = ""; // so that the same may be chosen again, and the form itself sends none of it
  return files.length - kept.length;
}

async function inside(entry) {
  if (entry.isFile) return [await new Promise((done, failed) => entry.file(done, failed))];
  const reader = entry.createReader(), found = [];
  for (;;) { // it gives a hundred at a time
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return found;
    for (const one of some) found.push(...await inside(one));
  }
}

/** The files and folders of a drop: a folder as one line. Returns how many were left out. */
export async function takeDropped(transfer, taken) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry());
  let out = 0;
  for (const entry of entries) {
    if (!entry) continue;
    const files = await inside(entry), kept = files.filter((file) => !left(file.name));
    out += files.length - kept.length;
    taken.add(entry.name, kept);
  }
  return out;
}
