// A curve whose x turns back, as a phase portrait does: points joined in the
// order they were saved, on a canvas of its own.

import { useEffect, useRef } from "preact/hooks";
import type { Range, Series } from "../api/types";
import { seriesToken, token } from "../figure/colours";
import { frameArea, prepare } from "../figure/surface";
import { useWidth } from "../figure/use-width";
import { useTheme } from "../theme";

const height = 340;

function padded(range: Range | null): Range {
  const [low, high] = range ?? [0, 1];
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

interface Props {
  name: string;
  series: Series[];
  x: Range | null;
  y: Range | null;
  xTitle: string;
}

export function PathPlot({ name, series, x, y, xTitle }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(host);
  const theme = useTheme();
  useEffect(() => {
    if (!canvas.current || width === 0) return;
    const context = prepare(canvas.current, width, height);
    if (!context) return;
    const box = { left: 58, top: 10, width: Math.max(80, width - 74), height: height - 54 };
    const area = {
      box,
      x: padded(x),
      y: padded(y),
    };
    frameArea(context, area, { x: xTitle, y: "" }, true);
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, box.width, box.height);
    context.clip();
    context.lineJoin = "round";
    series.forEach((one, i) => {
      const expected = one.name.startsWith("expected");
      context.strokeStyle = token(seriesToken(i));
      context.lineWidth = expected ? 1.5 : 2;
      context.setLineDash(expected ? [6, 4] : []);
      context.beginPath();
      let pen = false;
      one.x.forEach((px, k) => {
        const py = one.y[k];
        if (px === null || py === null || py === undefined) {
          pen = false;
          return;
        }
        const left = box.left + ((px - area.x[0]) / (area.x[1] - area.x[0])) * box.width;
        const top = box.top + box.height * (1 - (py - area.y[0]) / (area.y[1] - area.y[0]));
        if (pen) context.lineTo(left, top);
        else context.moveTo(left, top);
        pen = true;
      });
      context.stroke();
    });
    context.restore();
    canvas.current.dataset["drawn"] = theme;
  }, [width, series, x, y, xTitle, theme]);
  return (
    <div ref={host} class="surface" role="img" aria-label={name} style={{ height: `${height}px` }}>
      <canvas ref={canvas} />
    </div>
  );
}
