"""What is asked of every page, as JavaScript that tells what of it is not so."""

from __future__ import annotations

# Controls and figures a screen reader would find without a name, and pictures without one.
NAMELESS = """() => {
  const name = (e) => (e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.title ||
    document.getElementById(e.getAttribute("aria-labelledby"))?.textContent ||
    e.textContent || "").trim();
  const controls = "a, button, input, select, textarea, summary, dialog, " +
    "[role=img], [role=group], [tabindex='0']";
  return [...document.querySelectorAll(controls)].filter((e) => !name(e)).map((e) => e.outerHTML);
}"""

# Text whose contrast against what lies behind it is below 4.5 to 1 (switched-off controls aside).
FAINT = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [R, G, B] = [r, g, b].map(linear);
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    const text = walk.currentNode.textContent.trim();
    if (!text || !e.offsetParent || e.closest(":disabled, noscript, .unseen")) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${e.className} ${text.slice(0, 30)}`);
  }
  return faint;
}"""
