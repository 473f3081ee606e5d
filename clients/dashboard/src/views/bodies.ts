// Bodies in a plane or in space, each with the path it came along.

import type { BodyAnimationView, Range } from "../api/types";
import { figureFont, seriesToken, token, withAlpha } from "../figure/colours";
import type { Frames } from "../figure/frames";
import { type Area, frameArea, prepare } from "../figure/surface";

/** How space is looked at: turned around the upright axis, then tipped. */
export interface Turn {
  around: number;
  up: number;
}

const trail = 90;
const wholePath = 600;
const height = 440;

type Point = [number, number];
type Project = (body: Float32Array, index: number) => Point;

function widened(range: Range | undefined): Range {
  const [low, high] = range ?? [0, 1];
  const room = (high - low) * 0.06 || 1;
  return [low - room, high + room];
}

/** A plot area in which a unit is as long across as it is up. */
function areaFor(width: number, x: Range, y: Range): Area {
  const [left, right, top, bottom] = [52, 16, 10, 28];
  const room = Math.max(80, width - left - right);
  const tall = Math.min(height, Math.max(220, room)) - top - bottom;
  const shape = (x[1] - x[0]) / (y[1] - y[0]);
  const wide = Math.round(Math.min(room, tall * Math.max(1.25, shape)));
  const box = { left, top, width: wide, height: tall };
  const unit = Math.max((x[1] - x[0]) / wide, (y[1] - y[0]) / tall);
  const around = (range: Range, pixels: number): Range => {
    const middle = (range[0] + range[1]) / 2;
    return [middle - (unit * pixels) / 2, middle + (unit * pixels) / 2];
  };
  return { box, x: around(x, wide), y: around(y, tall) };
}

function flat(view: BodyAnimationView, width: number): [Area, Project] {
  const area = areaFor(width, widened(view.bounds[0]), widened(view.bounds[1]));
  const { box } = area;
  const project: Project = (body, i) => [
    box.left + (((body[i] ?? Number.NaN) - area.x[0]) / (area.x[1] - area.x[0])) * box.width,
    box.top +
      box.height -
      (((body[i + 1] ?? Number.NaN) - area.y[0]) / (area.y[1] - area.y[0])) * box.height,
  ];
  return [area, project];
}

function spatial(view: BodyAnimationView, width: number, turn: Turn): [Area, Project, Point[][]] {
  const ranges = [0, 1, 2].map((axis) => view.bounds[axis] ?? ([0, 1] as Range));
  const middle = ranges.map(([low, high]) => (low + high) / 2);
  const radius = Math.hypot(...ranges.map(([low, high]) => (high - low) / 2)) * 1.04 || 1;
  const area = areaFor(width, [-radius, radius], [-radius * 0.8, radius * 0.8]);
  const { box } = area;
  const scale = box.width / (area.x[1] - area.x[0]);
  const [sinA, cosA] = [Math.sin(turn.around), Math.cos(turn.around)];
  const [sinU, cosU] = [Math.sin(turn.up), Math.cos(turn.up)];
  const place = (x: number, y: number, z: number): Point => {
    const [dx, dy, dz] = [x - (middle[0] ?? 0), y - (middle[1] ?? 0), z - (middle[2] ?? 0)];
    const across = dx * cosA - dy * sinA;
    const deep = dx * sinA + dy * cosA;
    const up = dz * cosU + deep * sinU;
    return [box.left + box.width / 2 + across * scale, box.top + box.height / 2 - up * scale];
  };
  const project: Project = (body, i) =>
    place(body[i] ?? Number.NaN, body[i + 1] ?? Number.NaN, body[i + 2] ?? Number.NaN);
  const corner = (bits: number): Point =>
    place(
      ranges[0]?.[bits & 1] ?? 0,
      ranges[1]?.[(bits >> 1) & 1] ?? 0,
      ranges[2]?.[(bits >> 2) & 1] ?? 0,
    );
  const edges: Point[][] = [];
  for (let from = 0; from < 8; from++) {
    for (const bit of [1, 2, 4]) if (!(from & bit)) edges.push([corner(from), corner(from | bit)]);
  }
  return [area, project, edges];
}

function tracePath(context: CanvasRenderingContext2D, points: Point[]): void {
  context.beginPath();
  let pen = false;
  for (const [x, y] of points) {
    if (Number.isNaN(x) || Number.isNaN(y)) {
      pen = false;
    } else if (pen) {
      context.lineTo(x, y);
    } else {
      context.moveTo(x, y);
      pen = true;
    }
  }
  context.stroke();
}

export function drawBodies(
  canvas: HTMLCanvasElement,
  view: BodyAnimationView,
  frames: Frames,
  frame: number,
  width: number,
  turn: Turn,
): boolean {
  const now = frames.at(frame);
  if (!now && canvas.dataset["drawn"]) return false;
  const solid = view.dimensions === 3;
  const [area, project, edges] = solid ? spatial(view, width, turn) : [...flat(view, width), []];
  const { box } = area;
  const context = prepare(
    canvas,
    box.left + box.width + 16,
    box.top + box.height + (solid ? 12 : 28),
  );
  if (!context) return false;
  if (solid) {
    context.strokeStyle = token("border");
    for (const edge of edges as Point[][]) tracePath(context, edge);
  } else {
    frameArea(context, area, { x: "", y: "" }, true);
  }
  if (!now) return false;
  const past: Float32Array[] = [];
  for (let i = Math.max(0, frame - trail); i < frame; i++) {
    const body = frames.at(i);
    if (body) past.push(new Float32Array(body));
  }
  const present = new Float32Array(now);
  const whole =
    view.bodies > 8 ? [] : frames.thinned(wholePath).map((one) => new Float32Array(one));
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.width, box.height);
  context.clip();
  context.lineJoin = "round";
  context.lineCap = "round";
  const radius = view.bodies > 50 ? 2.25 : view.bodies > 8 ? 3.5 : 5.5;
  const many = view.bodies > 200;
  for (let body = 0; body < view.bodies; body++) {
    const colour = token(seriesToken(view.bodies > 8 ? 0 : body));
    const at = body * view.dimensions;
    context.strokeStyle = withAlpha(colour, 0.16);
    context.lineWidth = 1;
    tracePath(
      context,
      whole.map((one) => project(one, at)),
    );
    const path = many ? [] : [...past, present].map((one) => project(one, at));
    // In pieces that fade with their age.
    const pieces = 6;
    for (let piece = 0; piece < pieces; piece++) {
      const from = Math.floor((path.length * piece) / pieces);
      const to = Math.floor((path.length * (piece + 1)) / pieces);
      context.strokeStyle = withAlpha(colour, 0.08 + (0.6 * (piece + 1)) / pieces);
      context.lineWidth = 1.75;
      tracePath(context, path.slice(Math.max(0, from - 1), to));
    }
    const [x, y] = project(present, at);
    if (Number.isNaN(x) || Number.isNaN(y)) continue;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
    if (view.bodies > 50) continue;
    context.lineWidth = 1.5;
    context.strokeStyle = token("surface");
    context.stroke();
  }
  if (view.bodies <= 8 && view.names?.length) {
    context.font = figureFont;
    context.textBaseline = "middle";
    context.fillStyle = token("ink-2");
    for (let body = 0; body < view.bodies; body++) {
      const [x, y] = project(present, body * view.dimensions);
      context.fillText(view.names[body] ?? "", x + radius + 5, y);
    }
  }
  context.restore();
  return true;
}
