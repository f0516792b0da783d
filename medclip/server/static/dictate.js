// Dictation: the browser records, the server writes down, and the words can be corrected before asking.

import { Doing, fault } from "./told.js";

const KINDS = [["audio/webm;codecs=opus", "webm"], ["audio/mp4", "mp4"], ["audio/ogg;codecs=opus", "ogg"]];

/** The buttons of a dictation. `failed` shows what went wrong; `sounds` takes the recordings. */
export class Dictation {
  #recorder = null;
  #count = 0;

  constructor({ record, transcribe, heard, report, sounds, failed }) {
    Object.assign(this, { record, transcribe, report, sounds, failed });
    this.doing = new Doing(heard);
    record.addEventListener("click", () => (this.#recorder ? this.stop() : this.#start()));
    transcribe.addEventListener("click", () => this.#write());
    const kind = globalThis.MediaRecorder && KINDS.find(([name]) => MediaRecorder.isTypeSupported(name));
    if (!navigator.mediaDevices || !kind) {
      record.disabled = true;
      this.doing.say("This browser records only over https or on the server's own machine; choose a recording instead.");
    } else [this.kind, this.suffix] = kind;
    this.refresh();
  }

  refresh() {
    this.transcribe.disabled = !this.sounds.files.length;
  }

  async #start() {
    let stream;
    this.record.disabled = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      this.failed("No microphone can be used; allow it for this page, or choose a recording.");
      return;
    } finally {
      this.record.disabled = false;
    }
    const parts = [], recorder = new MediaRecorder(stream, { mimeType: this.kind });
    this.#recorder = recorder;
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    this.stopped = new Promise((done) => recorder.addEventListener("stop", () => {
      for (const track of stream.getTracks()) track.stop();
      const name = `dictation ${++this.#count}.${this.suffix}`;
      this.sounds.add(name, [new File(parts, name, { type: this.kind })]);
      done();
    }));
    recorder.start();
    this.record.textContent = "Stop recording";
    this.record.ariaPressed = "true";
    this.doing.since("Recording,");
  }

  /** End a recording, if there is one; it is in the list when this is done. */
  async stop() {
    if (!this.#recorder) return;
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
    await this.stopped;
    this.#recorder = null;
    this.record.textContent = "Record";
    this.record.ariaPressed = "false";
    this.doing.done("Recorded.");
  }

  async #write() {
    await this.stop();
    const form = new FormData();
    for (const file of this.sounds.files) form.append("recordings", file, file.name);
    this.transcribe.disabled = this.record.disabled = true;
    this.failed("");
    this.doing.since("Writing down,");
    try {
      const answer = await fetch("/transcripts", { method: "POST", body: form, headers: { accept: "application/json" } });
      const text = await answer.text();
      if (!answer.ok) throw new Error(fault(answer.status, text));
      const said = JSON.parse(text);
      this.report.value = [this.report.value.trimEnd(), said.text].filter(Boolean).join("\n\n");
      this.sounds.spend("written down in the report, not sent again");
      this.doing.done(`Written down (${said.language}, ${Math.round(said.seconds)} s): correct it in the report above.`);
      this.report.focus();
    } catch (error) {
      this.doing.done();
      this.failed(error instanceof TypeError ? fault(0, "") : error.message);
    } finally {
      this.record.disabled = !this.kind;
      this.refresh();
    }
  }
}
