"use strict";
// hands on the microphone's samples as they are; runs in the browser's sound thread
registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
});
