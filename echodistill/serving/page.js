"use strict";
const by = id => document.getElementById(id), key = new URLSearchParams(location.search).get("key");
const maxBytes = by("form").dataset.maxMib * 2 ** 20, longestS = Number(by("form").dataset.longestS);
let recording = null, stop = null, opening = false, asking = false;

by("noise").onchange = by("snr").oninput = () => {
  by("level").value = by("snr").value + " dB";
  by("snr").disabled = !by("noise").value;
  by("snr").setAttribute("aria-valuetext", by("level").value);
};
by("noise").onchange();  // a browser that goes back to the page restores what was set

// browsers record webm, which nothing here decodes: samples are taken as they come and written as a wav
function wav(blocks, rate) {
  const count = blocks.reduce((sum, block) => sum + block.length, 0), view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (at, word) => [...word].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); text(8, "WAVEfmt "); view.setUint32(16, 16, true); view.setUint16(20, 1, true);
  view.setUint16(22, 1, true); view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * count, true);
  let at = 44;
  for (const block of blocks) for (const sample of block) { view.setInt16(at, 32767 * Math.max(-1, Math.min(1, sample)), true); at += 2; }
  return new Blob([view], {type: "audio/wav"});
}

async function record() {
  // what a browser does to make calls pleasant would take away the noise
  const raw = {echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const stream = await navigator.mediaDevices.getUserMedia({audio: raw}), context = new AudioContext(), blocks = [];
  await context.audioWorklet.addModule("/recorder.js");
  const source = context.createMediaStreamSource(stream), taker = new AudioWorkletNode(context, "recorder", {numberOfOutputs: 0});
  taker.port.onmessage = event => blocks.push(event.data);
  source.connect(taker);
  const end = setTimeout(() => stop(), 1000 * longestS);
  stop = () => {
    clearTimeout(end); stop = null;
    let left = Math.floor(longestS * context.sampleRate);  // the timer is late, and a sample too many is refused
    for (const [index, block] of blocks.entries()) { blocks[index] = block.subarray(0, left); left -= blocks[index].length; }
    stream.getTracks().forEach(track => track.stop()); context.close();
    const clip = wav(blocks, context.sampleRate), seconds = (clip.size - 44) / 2 / context.sampleRate;
    recording = seconds ? clip : null; by("file").value = "";
    by("record").textContent = "Record again"; by("record").classList.remove("on");
    by("recorded").textContent = seconds ? `${seconds.toFixed(1)} s recorded` : "nothing was recorded";
  };
  by("record").textContent = "Stop"; by("record").classList.add("on"); by("recorded").textContent = `recording, for ${longestS} s at most …`;
}

by("record").onclick = async () => {
  fault("");
  if (stop) { stop(); return; }
  if (opening) return;
  opening = true;  // until the person has allowed the microphone
  try { await record(); } catch (error) { fault(`The microphone cannot be used: ${error.message}.`); }
  opening = false;
};
by("file").onchange = () => { if (stop) stop(); recording = null; by("recorded").textContent = ""; by("record").textContent = "Record"; fault(""); };

// shows what is wrong, and focuses the field that it concerns
function fault(message, field) {
  by("error").textContent = message;
  for (const input of document.querySelectorAll("[aria-invalid]")) { input.removeAttribute("aria-invalid"); input.removeAttribute("aria-errormessage"); }
  if (field) { field.setAttribute("aria-invalid", "true"); field.setAttribute("aria-errormessage", "error"); field.focus(); }
}

async function answered(clip, query) {
  let reply;
  try { reply = await fetch("/answer?" + new URLSearchParams(query), {method: "POST", body: clip}); }
  catch { throw new Error("No answer came: is `echodistill listen` still running, and the file still there?"); }
  const result = await reply.json().catch(() => ({error: `the server answered with status ${reply.status}`}));
  if (result.error) throw new Error(result.error);
  return result;
}

function show(result, query) {
  by("answers").replaceChildren(...Object.entries(result.answers).flatMap(([name, response]) => {
    const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name; detail.textContent = response || "(nothing)"; return [term, detail];
  }));
  by("clip-note").textContent = query.noise ? `Your clip in noise: ${query.noise} at ${query.snr} dB.` : "Your clip, without noise.";
  by("clip").src = "data:audio/flac;base64," + result.clip;
  by("result").hidden = false;
  by("result-title").focus();  // a screen reader continues from here
}

by("form").onsubmit = async event => {
  event.preventDefault();
  if (asking) return;
  if (stop) stop();
  const clip = recording || by("file").files[0];
  fault("");
  by("result").hidden = true;
  if (!clip) { fault("Choose or record a clip first.", by("file")); return; }
  if (clip.size > maxBytes) { fault(`The clip is larger than ${by("form").dataset.maxMib} MiB.`, by("file")); return; }
  if (!by("question").value.trim()) { fault("Ask a question.", by("question")); return; }
  const query = {key, question: by("question").value, choices: by("choices").value, noise: by("noise").value, snr: by("snr").value};
  busy(true);
  try { show(await answered(clip, query), query); } catch (error) { fault(error.message); }
  busy(false);
};

// not "disabled", which would take the focus away
function busy(on) {
  asking = on;
  by("ask").setAttribute("aria-disabled", on);
  by("status").textContent = on ? "asking …" : "";
}
