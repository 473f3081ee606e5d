// Drawing of fields on a canvas: a plot area with axes, whole device pixels.

import type { Range } from "../api/types";
import { ticks } from "../format";
import { type ColourTable, cssColour, figureFont, token } from "./colours";
import { roundTicks } from "./scale";

/** A rectangle in CSS pixels. */
export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Fits a canvas to its place at the density of the screen. */
export function prepare(
  canvas: HTMLCanvasElement,
  width: number,
  height: number,
): CanvasRenderingContext2D | null {
  const density = window.devicePixelRatio || 1;
  const wide = Math.round(width * density);
  const tall = Math.round(height * density);
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== tall) canvas.height = tall;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context?.setTransform(density, 0, 0, density, 0, 0);
  context?.clearRect(0, 0, width, height);
  return context;
}

/** A picture of rows by columns through a colour table; row 0 is drawn lowest. */
export function picture(
  cells: ArrayLike<number>,
  rows: number,
  cols: number,
  table: ColourTable,
  indexOf: (value: number) => number,
): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = cols;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  if (!context || rows === 0 || cols === 0) return canvas;
  const image = context.createImageData(cols, rows);
  const to = image.data;
  for (let row = 0; row < rows; row++) {
    let from = (rows - 1 - row) * cols;
    let at = row * cols * 4;
    for (let col = 0; col < cols; col++, from++, at += 4) {
      const index = indexOf(cells[from] as number);
      if (index < 0) continue;
      const entry = index * 4;
      to[at] = table[entry] as number;
      to[at + 1] = table[entry + 1] as number;
      to[at + 2] = table[entry + 2] as number;
      to[at + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The ground under missing values: a hatch, so that a gap is not read as a colour. */
export function hatch(context: CanvasRenderingContext2D, box: Box): void {
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width, box.height);
  context.clip();
  context.fillStyle = token("raised");
  context.fillRect(box.left, box.top, box.width, box.height);
  context.strokeStyle = token("border");
  context.lineWidth = 1;
  context.beginPath();
  for (let x = box.left - box.height; x < box.left + box.width; x += 6) {
    context.moveTo(x, box.top + box.height);
    context.lineTo(x + box.height, box.top);
  }
  context.stroke();
  context.restore();
}

export interface Area {
  box: Box;
  x: Range;
  y: Range;
}

/** Frame, ticks and titles around a plot area. */
export function frameArea(
  context: CanvasRenderingContext2D,
  area: Area,
  titles: { x: string; y: string },
  grid = false,
): void {
  const { box } = area;
  const bottom = box.top + box.height;
  const right = box.left + box.width;
  context.save();
  context.font = figureFont;
  context.lineWidth = 1;
  const xs = roundTicks(area.x[0], area.x[1], Math.max(2, box.width / 64));
  const ys = roundTicks(area.y[0], area.y[1], Math.max(2, box.height / 48));
  const across = (value: number) =>
    box.left + ((value - area.x[0]) / (area.x[1] - area.x[0] || 1)) * box.width;
  const up = (value: number) =>
    bottom - ((value - area.y[0]) / (area.y[1] - area.y[0] || 1)) * box.height;
  const line = (x0: number, y0: number, x1: number, y1: number) => {
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  };
  if (grid) {
    context.strokeStyle = token("grid");
    for (const x of xs)
      line(Math.round(across(x)) + 0.5, box.top, Math.round(across(x)) + 0.5, bottom);
    for (const y of ys) line(box.left, Math.round(up(y)) + 0.5, right, Math.round(up(y)) + 0.5);
  }
  context.strokeStyle = token("border-control");
  context.fillStyle = token("ink-3");
  context.textAlign = "center";
  context.textBaseline = "top";
  ticks(xs).forEach((text, i) => {
    const x = Math.round(across(xs[i] ?? 0)) + 0.5;
    line(x, bottom, x, bottom + 4);
    context.fillText(text, x, bottom + 7);
  });
  context.textAlign = "right";
  context.textBaseline = "middle";
  ticks(ys).forEach((text, i) => {
    const y = Math.round(up(ys[i] ?? 0)) + 0.5;
    line(box.left - 4, y, box.left, y);
    context.fillText(text, box.left - 7, y);
  });
  context.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.height + 1);
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  if (titles.x) context.fillText(titles.x, box.left + box.width / 2, bottom + 34);
  context.restore();
}

/** The colours of a range of values, with five ticks. */
export function colourBar(
  context: CanvasRenderingContext2D,
  box: Box,
  table: ColourTable,
  range: Range,
): void {
  context.save();
  const steps = Math.max(2, Math.round(box.height));
  for (let i = 0; i < steps; i++) {
    context.fillStyle = cssColour(table, 255 * (1 - i / (steps - 1)));
    context.fillRect(
      box.left,
      box.top + (i * box.height) / steps,
      box.width,
      box.height / steps + 0.6,
    );
  }
  context.strokeStyle = token("border-control");
  context.lineWidth = 1;
  context.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.height + 1);
  context.font = figureFont;
  context.fillStyle = token("ink-3");
  context.textAlign = "left";
  context.textBaseline = "middle";
  const values = roundTicks(range[0], range[1], 5);
  ticks(values).forEach((text, i) => {
    const share = ((values[i] ?? 0) - range[0]) / (range[1] - range[0] || 1);
    const y = Math.round(box.top + box.height * (1 - share)) + 0.5;
    context.beginPath();
    context.moveTo(box.left + box.width, y);
    context.lineTo(box.left + box.width + 4, y);
    context.stroke();
    context.fillText(text, box.left + box.width + 7, y);
  });
  context.restore();
}
