// What a view's component is given to draw: the view, and what a reader does to it.

import { useMemo, useState } from "preact/hooks";
import type { Problem } from "../api/client";
import type { Range, Result, View } from "../api/types";

export interface Window {
  x: Range;
  y?: Range;
}

export interface Zoom {
  /** What the reader looks at, or null for everything. */
  window: Window | null;
  into: (window: Window) => void;
  back: () => void;
  reset: () => void;
}

export interface Figure<V extends View = View> {
  view: V;
  result: Result;
  title: string;
  zoom: Zoom;
  layer: string;
  setLayer: (layer: string) => void;
  /** The run is still being computed. */
  live: boolean;
  /** A newer view is on its way. */
  pending: boolean;
  problem: Problem | null;
  retry: () => void;
}

export function useZoom(): Zoom {
  const [stack, setStack] = useState<Window[]>([]);
  return useMemo(
    () => ({
      window: stack.at(-1) ?? null,
      into: (window: Window) => setStack((old) => [...old, window]),
      back: () => setStack((old) => old.slice(0, -1)),
      reset: () => setStack([]),
    }),
    [stack],
  );
}
