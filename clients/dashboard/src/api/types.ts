// The JSON of the REST interface. docs/views.md is the reference for views.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Run {
  id: string;
  name: string;
  created_at: string;
  updated_at: string | null;
  equation: string | null;
  circuit: string | null;
  metadata: { [key: string]: Json } | null;
  results: string[] | null;
  tags: string[] | null;
  note: string | null;
  status: string | null;
  finished_at: string | null;
  result_count: number;
  etag: string | null;
  live: boolean;
}

export interface Result {
  id: string;
  run_id: string;
  result_type: string;
  display: { [key: string]: Json } | null;
  created_at: string;
  etag: string | null;
}

export interface RunPage {
  runs: Run[];
  next_page_token: string | null;
  total_size: number;
}

export interface ResultPage {
  results: Result[];
  next_page_token: string | null;
}

/** One message of the stream of updates. */
export type Message = { type: "connected" } | { type: "reset" } | Change;

export interface Change {
  type: "update" | "delete";
  object_type: "run" | "result" | "asset" | "experiment" | "job";
  object_id: string;
  /** Of a result. */
  run_id?: string;
}

/** A number, or nothing where the stored value is NaN or infinite. */
export type Value = number | null;
export type Range = [number, number];

interface Common {
  result_id: string;
  run_id: string;
  result_type: string;
  title: string | null;
  labels: { x?: string | null; y?: string | null } | null;
  notes: string[] | null;
  /** x holds seconds since 1970. */
  x_is_time?: boolean;
}

export interface Series {
  name: string;
  x: Value[];
  y: Value[];
  reduced: boolean;
  nonfinite?: { nan: number; inf: number } | null;
}

export interface LineView extends Common {
  kind: "line";
  n: number;
  /** False where x turns back: a curve in a plane, points in the order saved. */
  ordered?: boolean;
  x_range: Range | null;
  window: Range | null;
  y_range: Range | null;
  series: Series[];
  residual: { x: Value[]; y: Value[]; max_abs: Value; rms: Value; reduced: boolean } | null;
  coefficients: { values: Value[]; convention: string; more?: number } | null;
}

export interface StepsView extends Common {
  kind: "steps";
  n_total: number;
  ordered?: boolean;
  x_range: Range | null;
  window: Range | null;
  y_range: Range | null;
  series: Series[];
}

export interface Extreme {
  value: Value;
  x: Value;
  y: Value;
}

export interface Grid {
  rows: number;
  cols: number;
  x_edges: Range;
  y_edges: Range;
  averaged: boolean;
  /** A cell is offset + scale * the number sent. */
  offset: number;
  scale: number;
  href: string;
}

export interface HeatmapView extends Common {
  kind: "heatmap";
  shape: [number, number];
  x_range: Range | null;
  y_range: Range | null;
  window: { x: Range; y: Range } | null;
  layers: string[];
  layer: string;
  value_range: Range | null;
  extremes: { min: Extreme | null; max: Extreme | null } | null;
  mean: Value;
  grid: Grid;
}

export interface Band {
  level: number;
  lower: Value[];
  upper: Value[];
}

export interface Histogram {
  t: number;
  edges: number[];
  counts: number[];
}

export interface EnsembleView extends Common {
  kind: "ensemble";
  n_paths: number;
  n_times: number;
  t_range: Range | null;
  window: Range | null;
  y_range: Range | null;
  t: number[];
  mean: Value[];
  median: Value[];
  bands: Band[];
  given: { mean: Value[] | null; lower: Value[] | null; upper: Value[] | null } | null;
  samples: { index: number; y: Value[] }[];
  histograms: Histogram[];
}

export interface ParameterSeries {
  name: string;
  x: Value[];
  y: Value[];
  reduced: boolean;
}

export interface OptimizationView extends Common {
  kind: "optimization";
  n: number;
  loss: { x: Value[]; y: Value[]; best: Value[]; reduced: boolean };
  log_suggested: boolean;
  best: { step: number; loss: Value; parameters: { [name: string]: Value } | null } | null;
  optimum: Json;
  parameters: ParameterSeries[];
}

export interface FramePages {
  dtype: "uint8" | "float32";
  page: number;
  href: string;
}

interface AnimationCommon extends Common {
  kind: "animation";
  n_frames: number;
  times: Value[];
  frames: FramePages;
}

export interface FieldAnimationView extends AnimationCommon {
  mode: "frames";
  rows: number;
  cols: number;
  value_range: Range | null;
}

export interface BodyAnimationView extends AnimationCommon {
  mode: "positions";
  bodies: number;
  dimensions: number;
  bounds: Range[];
  names?: string[] | null;
}

export type AnimationView = FieldAnimationView | BodyAnimationView;

export type TreeNode =
  | { type: "object"; items: [string, TreeNode][]; more: number }
  | { type: "list"; items: TreeNode[]; more: number }
  | {
      type: "array";
      dtype: string;
      shape: number[];
      min: Value;
      max: Value;
      mean: Value;
      sparkline: Value[] | null;
    }
  | { type: "text"; value: string }
  | { type: "number"; value: string | number }
  | { type: "bool"; value: boolean }
  | { type: "null"; value?: null };

export interface TreeView extends Common {
  kind: "tree";
  reason: string | null;
  waiting: boolean;
  tree: TreeNode;
}

export type View =
  | LineView
  | HeatmapView
  | EnsembleView
  | StepsView
  | OptimizationView
  | AnimationView
  | TreeView;

/** What to draw of a result: pixels, window, layer. */
export interface ViewOptions {
  width?: number;
  height?: number;
  x_min?: number;
  x_max?: number;
  y_min?: number;
  y_max?: number;
  layer?: string;
  at?: number[];
}
