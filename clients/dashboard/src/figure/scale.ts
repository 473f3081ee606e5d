// Ranges and ticks of axes.

import type { Range, Value } from "../api/types";

/** The round step (1, 2 or 5 times a power of ten) that gives about n parts. */
export function roundStep(span: number, parts: number): number {
  const rough = span / Math.max(1, parts);
  const power = 10 ** Math.floor(Math.log10(rough));
  const share = rough / power;
  const round = share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10;
  return round * power;
}

/** A range widened to whole steps: it stays still while data move within it. */
export function snapped(
  min: Value,
  max: Value,
  include: number[] = [],
  parts = 6,
): { range: Range; step: number } {
  const usable = min !== null && max !== null && Number.isFinite(min) && Number.isFinite(max);
  if (!usable) return { range: [0, 1], step: 0.5 };
  let low = Math.min(min, ...include);
  let high = Math.max(max, ...include);
  if (high - low <= Math.abs(high) * 1e-12) {
    const room = Math.abs(high) * 0.1 || 1;
    low -= room;
    high += room;
  }
  if (!Number.isFinite(high - low)) return { range: [low, high], step: high / 2 };
  const step = roundStep(high - low, parts);
  const margin = (high - low) * 0.002;
  const down = Math.floor((low - margin) / step) * step;
  const up = Math.ceil((high + margin) / step) * step;
  // Data that touch zero from one side keep zero as their floor.
  return { range: [low >= 0 && down < 0 ? 0 : down, high <= 0 && up > 0 ? 0 : up], step };
}

/** A range that has a width, also where all data lie at one place or nowhere. */
export function widened(low: number | null | undefined, high: number | null | undefined): Range {
  const [from, to] = [low ?? high ?? 0, high ?? low ?? 1];
  if (to > from) return [from, to];
  const room = Math.abs(from) * 0.5 || 1;
  return [from - room, from + room];
}

/** Whole powers of ten where the range is wide, halves of them where it is not. */
export function snappedLog(min: Value, max: Value): Range {
  if (min === null || max === null || !(min > 0) || !(max > 0)) return [0.1, 1];
  let low = 10 ** Math.floor(Math.log10(min) + 1e-9);
  let high = 10 ** Math.ceil(Math.log10(max) - 1e-9);
  if (low === high) {
    low /= 10;
    high *= 10;
  }
  return [low, high];
}

/** Powers of ten within a range, every second or third where there are more than fit. */
export function powersOfTen(min: number, max: number, most: number): number[] {
  const first = Math.ceil(Math.log10(min) - 1e-9);
  const last = Math.floor(Math.log10(max) + 1e-9);
  const stride = Math.max(1, Math.ceil((last - first + 1) / Math.max(1, most)));
  const powers: number[] = [];
  for (let power = first; power <= last; power++) {
    if (power % stride === 0) powers.push(Number(`1e${power}`));
  }
  return powers;
}

/** Round values within a range, about n of them or a given step apart. */
export function roundTicks(low: number, high: number, parts: number, given?: number): number[] {
  if (!(high > low) || !Number.isFinite(high - low)) return [low];
  const step = given ?? roundStep(high - low, parts);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  const values: number[] = [];
  // Counted in steps, so that 0.30000000000000004 is not a tick.
  for (let i = first; i <= last && values.length < 50; i++) {
    values.push(Number((i * step).toPrecision(12)));
  }
  return values;
}
