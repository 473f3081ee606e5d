// Pointing at and selecting within a plot area of a canvas.

import { useRef, useState } from "preact/hooks";
import type { Box } from "./surface";

interface Actions {
  /** Pixels within the area, or null when the pointer left it. */
  onMove: (x: number | null, y: number) => void;
  onBox: (x0: number, y0: number, x1: number, y1: number) => void;
  onBack: () => void;
}

const leastDrag = 6;

export function useDrag(area: Box, actions: Actions) {
  const [box, setBox] = useState<Box | null>(null);
  const start = useRef<[number, number] | null>(null);
  const within = (event: PointerEvent | MouseEvent): [number, number, boolean] => {
    const place = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const x = event.clientX - place.left - area.left;
    const y = event.clientY - place.top - area.top;
    const inside = x >= 0 && y >= 0 && x <= area.width && y <= area.height;
    const clamp = (value: number, most: number) => Math.max(0, Math.min(most, value));
    return [clamp(x, area.width), clamp(y, area.height), inside];
  };
  const boxOf = (a: [number, number], x: number, y: number): Box => ({
    left: Math.min(a[0], x),
    top: Math.min(a[1], y),
    width: Math.abs(x - a[0]),
    height: Math.abs(y - a[1]),
  });
  const handlers = {
    onPointerDown: (event: PointerEvent) => {
      const [x, y, inside] = within(event);
      // A finger scrolls the page; it is not taken for a selection.
      if (!inside || event.button !== 0 || event.pointerType === "touch") return;
      start.current = [x, y];
      (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
    },
    onPointerMove: (event: PointerEvent) => {
      const [x, y, inside] = within(event);
      actions.onMove(inside || start.current ? x : null, y);
      if (start.current) {
        const found = boxOf(start.current, x, y);
        setBox({ ...found, left: found.left + area.left, top: found.top + area.top });
      }
    },
    onPointerUp: (event: PointerEvent) => {
      const from = start.current;
      start.current = null;
      setBox(null);
      if (!from) return;
      const [x, y] = within(event);
      const found = boxOf(from, x, y);
      if (found.width < leastDrag || found.height < leastDrag) return;
      actions.onBox(found.left, found.top, found.left + found.width, found.top + found.height);
    },
    onPointerLeave: () => {
      if (!start.current) actions.onMove(null, 0);
    },
    onPointerCancel: () => {
      start.current = null;
      setBox(null);
    },
    onDblClick: () => actions.onBack(),
  };
  return { box, handlers };
}
