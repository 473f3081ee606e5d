// One frame of a field, from bytes: 0 is missing, 1 to 255 lie over the range.

import type { FieldAnimationView, Range } from "../api/types";
import { token, viridis } from "../figure/colours";
import type { Frames } from "../figure/frames";
import { colourBar, hatch, picture, prepare } from "../figure/surface";

const byteToIndex = (byte: number) => (byte === 0 ? -1 : Math.round(((byte - 1) / 254) * 255));

export function drawField(
  canvas: HTMLCanvasElement,
  view: FieldAnimationView,
  frames: Frames,
  frame: number,
  width: number,
): boolean {
  const left = 8;
  const right = 84;
  const room = Math.max(80, width - left - right);
  const ratio = view.rows / Math.max(1, view.cols);
  const tall = Math.round(Math.min(420, Math.max(120, room * ratio)));
  const wide = Math.round(Math.min(room, Math.max(120, tall / ratio)));
  const box = { left, top: 10, width: wide, height: tall };
  const body = frames.at(frame);
  // The last frame stays until this one is here: no flicker while reading.
  if (!body && canvas.dataset["drawn"]) return false;
  const context = prepare(canvas, left + wide + right, tall + 22);
  if (!context) return false;
  hatch(context, box);
  if (body) {
    const image = picture(new Uint8Array(body), view.rows, view.cols, viridis, byteToIndex);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, box.left, box.top, box.width, box.height);
  }
  const range: Range = view.value_range ?? [0, 1];
  const bar = { left: box.left + box.width + 14, top: box.top, width: 14, height: box.height };
  colourBar(context, bar, viridis, range);
  context.strokeStyle = token("border-control");
  context.lineWidth = 1;
  context.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.height + 1);
  return body !== null;
}
