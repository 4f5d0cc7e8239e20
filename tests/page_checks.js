// What a reviewer looks for on a page; each function gives a list of faults, or of what it found.
"use strict";
window.checks = (() => {
  const name = element => element.tagName.toLowerCase() + (element.id ? "#" + element.id : "") + (typeof element.className === "string" && element.className ? "." + element.className : "");

  function colour(text) {
    const parts = (text.match(/[\d.]+(e-?\d+)?/g) || []).map(Number), full = text.startsWith("color(") ? 255 : 1;
    return {rgb: parts.slice(0, 3).map(part => part * full), alpha: parts.length > 3 ? parts[3] : 1};
  }
  const over = (front, back) => front.rgb.map((part, index) => part * front.alpha + back[index] * (1 - front.alpha));
  function luminance(rgb) {
    const [r, g, b] = rgb.map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function ground(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(colour(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((back, front) => over(front, back), matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255]);
  }
  function ratio(element, text) {
    let alpha = 1;
    for (let at = element; at; at = at.parentElement) alpha *= Number(getComputedStyle(at).opacity);
    const back = ground(element), ink = colour(text);
    const [high, low] = [over({rgb: ink.rgb, alpha: ink.alpha * alpha}, back), back].map(luminance).sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  }

  // text below 4.5 : 1, marks and lines that carry meaning below 3 : 1 (WCAG 2.2, 1.4.3 and 1.4.11)
  function faint() {
    const found = [], tell = (element, text, least, what) => {
      const value = ratio(element, text);
      if (value < least) found.push(`${name(element)} ${value.toFixed(2)}: ${what.trim().slice(0, 30)}`);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement;
      if (!node.data.trim() || !element.checkVisibility() || element.closest("[disabled],[aria-disabled=true]")) continue;
      const style = getComputedStyle(element);
      tell(element, element.closest("svg") ? style.fill : style.color, 4.5, node.data);
    }
    for (const element of document.querySelectorAll("body *")) for (const side of ["::before", "::after"]) {
      const style = getComputedStyle(element, side);
      if (!["none", "normal"].includes(style.content) && element.checkVisibility()) tell(element, style.color, 4.5, side + style.content);
    }
    for (const element of document.querySelectorAll("svg .line")) tell(element.closest("svg"), getComputedStyle(element).stroke, 3, element.getAttribute("class"));
    for (const element of document.querySelectorAll("input:not([type=file]):not([type=range]), select, textarea")) tell(element, getComputedStyle(element).color, 4.5, "value");
    return found;
  }

  function headings() {
    const levels = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].map(one => Number(one.tagName[1])), found = [];
    if (levels[0] !== 1 || levels.filter(level => level === 1).length !== 1) found.push("not one h1 at the start");
    levels.forEach((level, index) => { if (index && level > levels[index - 1] + 1) found.push(`h${levels[index - 1]} then h${level}`); });
    return found;
  }

  // what has no name for who does not see it
  function nameless() {
    const labelled = element => element.getAttribute("aria-label") || (element.getAttribute("aria-labelledby") || "").split(" ").some(id => document.getElementById(id))
      || [...(element.labels || [])].some(label => label.textContent.trim());
    return [
      ...[...document.images].filter(image => !image.alt.trim()),
      ...[...document.querySelectorAll("input, select, textarea, audio, [role=img], [role=region]")].filter(element => !labelled(element)),
      ...[...document.querySelectorAll("a[href], button")].filter(element => !element.textContent.trim() && !labelled(element)),
    ].map(name);
  }

  const reachable = () => [...document.querySelectorAll("a[href], button, input, select, textarea, summary, audio[controls], [tabindex='0']")]
    .filter(element => element.checkVisibility() && !element.disabled);

  // plays every player from its start; its place in the page where it does not get on
  async function mute() {
    const found = [];
    for (const [index, player] of [...document.querySelectorAll("audio")].entries()) {
      if (!player.checkVisibility()) continue;
      player.currentTime = 0;
      try { await player.play(); } catch (error) { found.push(`${index}: ${error.message}`); continue; }
      const until = performance.now() + 5000;
      while (player.currentTime === 0 && performance.now() < until) await new Promise(done => setTimeout(done, 20));
      if (player.currentTime === 0) found.push(`${index}: does not get on`);
      player.pause();
    }
    return found;
  }

  // an outline on screen, or a player, which draws its own
  function marked(element) {
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    const seen = box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
    return seen && (element.tagName === "AUDIO" || (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2));
  }

  // how far the page is wider than the screen, and what stands out
  function wide() {
    const width = document.documentElement.clientWidth, found = [];
    if (document.documentElement.scrollWidth > width) {
      found.push(`${document.documentElement.scrollWidth} > ${width}`);
      for (const element of document.querySelectorAll("body *"))
        if (element.getBoundingClientRect().right > width + 1 && !element.closest(".scroll")) found.push(name(element));
    }
    return found;
  }

  return {faint, headings, nameless, reachable, marked, mute, wide};
})();
