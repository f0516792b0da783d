// The form of a question: what is dropped and recorded, what is sent, and what is said meanwhile. The form works without it.

import { Dictation } from "./dictate.js";
import { Taken, takeChosen, takeDropped } from "./files.js";
import { Doing, fault, megabytes } from "./told.js";

const by = (id) => document.getElementById(id);
const form = by("ask"), drop = by("drop"), button = form.querySelector("button.main"), stop = by("stop");
const doing = new Doing(by("progress"));
let request = null; // that is under way

function failed(message) {
  by("problem").textContent = message;
  by("problem").hidden = !message;
}

function told(out = 0) {
  const { files, bytes } = scans;
  const parts = files.length ? [`${files.length} ${files.length > 1 ? "files" : "file"}, ${megabytes(bytes)}`] : [];
  if (out) parts.push(`${out} left out: hidden files and directories of a disc`);
  by("chosen").textContent = parts.join("; ");
}

const scans = new Taken(by("files"), () => told());
const sounds = new Taken(by("sounds"), () => dictation?.refresh());
scans.after = drop.querySelector("input");
sounds.after = by("recording");
let dictation = null;
dictation = new Dictation({
  record: by("record"), transcribe: by("transcribe"), heard: by("heard"), report: by("report"), sounds, failed,
});
for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;

for (const input of drop.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => told(takeChosen(input, scans)));
}
by("recording").addEventListener("change", () => takeChosen(by("recording"), sounds));

for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(name, (event) => { // beside the field a drop would leave the page, and lose what was filled in
    event.preventDefault();
    const over = drop.contains(event.target);
    if (event.dataTransfer) event.dataTransfer.dropEffect = over ? "copy" : "none";
    drop.classList.toggle("over", over && name !== "drop" && !(name === "dragleave" && event.target === drop));
  });
}
drop.addEventListener("drop", async (event) => {
  by("chosen").textContent = "Looking through what was dropped …";
  try {
    told(await takeDropped(event.dataTransfer, scans));
  } catch {
    told();
    failed("What was dropped cannot be read; check its permissions, or choose it by the button.");
  }
});

function ended(message) {
  request = null;
  button.disabled = false;
  stop.hidden = true;
  doing.done();
  failed(message);
}

function send(body) {
  const sending = new XMLHttpRequest(); // fetch does not tell how much is sent
  request = sending;
  sending.open("POST", form.action);
  sending.setRequestHeader("accept", "application/json");
  let sent = 0, whole = 0;
  sending.upload.addEventListener("progress", (event) => {
    [sent, whole] = [event.loaded, event.total];
    doing.count();
  });
  sending.upload.addEventListener("load", () => doing.since("Reading and comparing,"));
  sending.addEventListener("load", () => {
    if (sending.status !== 201) return ended(fault(sending.status, sending.responseText));
    stop.hidden = true;
    location.assign(JSON.parse(sending.responseText).address); // its cases are compared before it comes
    return undefined;
  });
  sending.addEventListener("error", () => ended(fault(0, "")));
  sending.addEventListener("abort", () => ended("Stopped; all that was filled in is still here."));
  doing.say("Sending", () => (whole > 1e5 ? `${(sent / 1e6).toFixed(0)} of ${megabytes(whole)}` : ""));
  stop.hidden = false;
  sending.send(body);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (button.disabled) return;
  button.disabled = true;
  failed("");
  await dictation.stop();
  const body = new FormData(form);
  body.delete("scans");
  body.delete("recordings");
  for (const file of scans.files) body.append("scans", file, file.name);
  for (const file of sounds.files) body.append("recordings", file, file.name);
  const { bytes, files } = form.dataset, count = scans.files.length + sounds.files.length;
  if (scans.bytes + sounds.bytes > bytes) return ended(`More than ${megabytes(bytes)} is too much at once; take some of it back.`);
  if (count > files) return ended(`More than ${files} files is too much at once; take some of them back.`);
  return send(body);
});
stop.addEventListener("click", () => request?.abort());
window.addEventListener("pageshow", (event) => { if (event.persisted) ended(""); }); // back from the answer
