// Curves with x of their own, brought onto one x for the plot.

import uPlot from "uplot";
import type { Value } from "../api/types";

export interface Curve {
  x: Value[];
  y: Value[];
}

/** Points whose x is a number, in the order of x. */
function ordered(curve: Curve): [number[], Value[]] {
  let sorted = true;
  const pairs: [number, Value][] = [];
  for (let i = 0; i < curve.x.length; i++) {
    const x = curve.x[i];
    if (x === null || x === undefined) continue;
    const last = pairs.at(-1);
    if (last && x < last[0]) sorted = false;
    pairs.push([x, curve.y[i] ?? null]);
  }
  if (!sorted) pairs.sort((a, b) => a[0] - b[0]);
  return [pairs.map((pair) => pair[0]), pairs.map((pair) => pair[1])];
}

function sameNumbers(a: Value[], b: Value[]): boolean {
  return a === b || (a.length === b.length && a.every((value, i) => value === b[i]));
}

/** One x for all: values missing at an x of another curve are bridged, nulls are gaps. */
export function align(curves: Curve[]): uPlot.AlignedData {
  const tables = curves.map(ordered);
  const first = tables[0];
  if (!first) return [[]];
  if (tables.every((table) => sameNumbers(table[0], first[0]))) {
    return [first[0], ...tables.map((table) => table[1])];
  }
  return uPlot.join(tables as uPlot.AlignedData[]);
}

/** The index of the value nearest to x among ascending values. */
export function nearestIndex(values: ArrayLike<Value>, x: number): number {
  let low = 0;
  let high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((values[middle] ?? 0) <= x) low = middle;
    else high = middle;
  }
  const below = Math.abs((values[low] ?? 0) - x);
  const above = Math.abs((values[high] ?? 0) - x);
  return above < below ? high : low;
}

/** What a curve says at x: its nearest sample. */
export function sampleAt(curve: Curve, x: number): Value {
  if (curve.x.length === 0) return null;
  return curve.y[nearestIndex(curve.x, x)] ?? null;
}
