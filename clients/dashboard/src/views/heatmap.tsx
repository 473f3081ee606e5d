import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { getBinary, isAbort } from "../api/client";
import type { Grid, HeatmapView, Range } from "../api/types";
import { diverging, viridis } from "../figure/colours";
import { type Reading, Readout } from "../figure/readout";
import { type Box, colourBar, frameArea, hatch, picture, prepare } from "../figure/surface";
import { useDrag } from "../figure/use-drag";
import { useWidth } from "../figure/use-width";
import { count, number } from "../format";
import { Card, Toggle } from "../run/card";
import type { Figure } from "../run/figure";
import { useTheme } from "../theme";
import { Profiles } from "./profiles";

interface Cells {
  grid: Grid;
  values: Float32Array | Float64Array;
  range: Range;
  layer: string;
}

/** The cells a view points to; those of the last view stay until they are there. */
function useCells(view: HeatmapView): [Cells | null, string | null] {
  const [cells, setCells] = useState<Cells | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const read = async () => {
      try {
        const body = await getBinary(view.grid.href, abort.signal);
        const sent = new Float32Array(body);
        const { offset, scale } = view.grid;
        const plain = offset === 0 && scale === 1;
        const values = plain ? sent : Float64Array.from(sent, (one) => offset + scale * one);
        setCells({ grid: view.grid, values, range: view.value_range ?? [0, 1], layer: view.layer });
        setFault(null);
      } catch (error) {
        if (!isAbort(error)) setFault(error instanceof Error ? error.message : String(error));
      }
    };
    void read();
    return () => abort.abort();
  }, [view]);
  return [cells, fault];
}

function colouring(cells: Cells) {
  let [low, high] = cells.range;
  const signed = cells.layer === "error" && low < 0 && high > 0;
  if (signed) {
    high = Math.max(-low, high);
    low = -high;
  }
  const span = high - low || 1;
  const indexOf = (value: number) =>
    Number.isNaN(value) ? -1 : Math.max(0, Math.min(255, Math.round(((value - low) / span) * 255)));
  return { table: signed ? diverging : viridis, range: [low, high] as Range, indexOf };
}

/** Axes of like length are drawn to one scale; others fill the area. */
function fit(
  width: number,
  x: Range,
  y: Range,
): { plot: Box; used: number; spare: number; height: number } {
  const left = 58;
  const right = 84;
  const room = Math.max(80, width - left - right);
  const ratio = (y[1] - y[0]) / (x[1] - x[0] || 1);
  let tall = Math.min(380, Math.max(220, room * 0.52));
  let wide = room;
  if (ratio > 0.5 && ratio < 2) {
    tall = Math.min(380, Math.max(160, room * ratio));
    wide = Math.min(room, tall / ratio);
  }
  const plot = { left, top: 10, width: Math.round(wide), height: Math.round(tall) };
  const used = left + plot.width + right;
  return { plot, used, spare: width - used, height: plot.height + 10 + 42 };
}

const leastForProfiles = 240;

/** Column and row of the cell at a place, or of the nearest one. */
function cellAt(grid: Grid, x: number, y: number): [number, number] {
  const cell = (at: number, edges: Range, n: number) => {
    const share = (at - edges[0]) / (edges[1] - edges[0] || 1);
    return Math.max(0, Math.min(n - 1, Math.floor(share * n)));
  };
  return [cell(x, grid.x_edges, grid.cols), cell(y, grid.y_edges, grid.rows)];
}

const layerNames: Record<string, string> = {
  computed: "Computed",
  expected: "Expected",
  error: "Error",
};

export function HeatmapFigure({ figure }: { figure: Figure<HeatmapView> }) {
  const { view, zoom, title } = figure;
  const theme = useTheme();
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(host);
  const [cells, fault] = useCells(view);
  const [spot, setSpot] = useState<[number, number] | null>(null);
  const whole = { x: view.x_range ?? ([0, 1] as Range), y: view.y_range ?? ([0, 1] as Range) };
  const shown = cells?.grid ?? view.grid;
  const x = zoom.window?.x ?? (zoom.window ? whole.x : shown.x_edges);
  const y = zoom.window?.y ?? (zoom.window ? whole.y : shown.y_edges);
  const { plot, used, spare, height } = useMemo(
    () => fit(width, whole.x, whole.y),
    [width, whole.x, whole.y],
  );
  const look = useMemo(() => (cells ? colouring(cells) : null), [cells]);
  const image = useMemo(
    () =>
      cells && look
        ? picture(cells.values, cells.grid.rows, cells.grid.cols, look.table, look.indexOf)
        : null,
    [cells, look],
  );
  const xTitle = view.labels?.x || "x";
  const yTitle = view.labels?.y || "y";

  useEffect(() => {
    if (!canvas.current || width === 0) return;
    const context = prepare(canvas.current, used, height);
    if (!context) return;
    hatch(context, plot);
    if (cells && look && image) {
      const { x_edges: gx, y_edges: gy } = cells.grid;
      const across = (value: number) => ((value - x[0]) / (x[1] - x[0] || 1)) * plot.width;
      const up = (value: number) => ((value - y[0]) / (y[1] - y[0] || 1)) * plot.height;
      context.save();
      context.beginPath();
      context.rect(plot.left, plot.top, plot.width, plot.height);
      context.clip();
      context.imageSmoothingEnabled = false;
      const left = plot.left + across(gx[0]);
      const top = plot.top + plot.height - up(gy[1]);
      context.drawImage(image, left, top, across(gx[1]) - across(gx[0]), up(gy[1]) - up(gy[0]));
      context.restore();
      const bar = {
        left: plot.left + plot.width + 14,
        top: plot.top,
        width: 14,
        height: plot.height,
      };
      colourBar(context, bar, look.table, look.range);
      canvas.current.dataset["drawn"] = cells.layer;
    }
    frameArea(context, { box: plot, x, y }, { x: xTitle, y: "" });
  }, [width, height, plot, cells, image, look, x[0], x[1], y[0], y[1], xTitle, theme]);

  const toValue = (px: number, py: number): [number, number] => [
    x[0] + (px / plot.width) * (x[1] - x[0]),
    y[1] - (py / plot.height) * (y[1] - y[0]),
  ];
  const drag = useDrag(plot, {
    onMove: (px, py) => setSpot(px === null ? null : toValue(px, py)),
    onBox: (x0, y0, x1, y1) => {
      const [left, high] = toValue(x0, y0);
      const [right, low] = toValue(x1, y1);
      zoom.into({ x: [left, right], y: [low, high] });
    },
    onBack: zoom.back,
  });

  let value: number | null = null;
  let cut: [number, number] | null = null;
  if (spot && cells) {
    const [col, row] = cellAt(cells.grid, spot[0], spot[1]);
    const found = cells.values[row * cells.grid.cols + col];
    value = found === undefined || Number.isNaN(found) ? null : found;
  }
  const { extremes } = view;
  if (cells && spare >= leastForProfiles) {
    // Without a cursor, through the highest value.
    const at = spot ?? [extremes?.max?.x ?? x[0], extremes?.max?.y ?? y[0]];
    cut = cellAt(cells.grid, at[0] ?? x[0], at[1] ?? y[0]);
  }
  const readings: Reading[] = spot
    ? [
        { label: xTitle, value: spot[0] },
        { label: yTitle, value: spot[1] },
        { label: view.layer, value },
      ]
    : [
        { label: "min", value: extremes?.min?.value ?? view.value_range?.[0] ?? null },
        { label: "max", value: extremes?.max?.value ?? view.value_range?.[1] ?? null },
        { label: "mean", value: view.mean },
      ];
  const onKeyDown = (event: KeyboardEvent) => {
    const at = spot ?? [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
    const dx = (x[1] - x[0]) / (cells?.grid.cols || 50);
    const dy = (y[1] - y[0]) / (cells?.grid.rows || 50);
    const far = event.shiftKey ? 10 : 1;
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [-dx, 0],
      ArrowRight: [dx, 0],
      ArrowUp: [0, dy],
      ArrowDown: [0, -dy],
    };
    const step = steps[event.key];
    const clamp = (v: number, range: Range) => Math.max(range[0], Math.min(range[1], v));
    if (step) setSpot([clamp(at[0] + step[0] * far, x), clamp(at[1] + step[1] * far, y)]);
    else if (event.key === "+") {
      const [w, h] = [(x[1] - x[0]) / 4, (y[1] - y[0]) / 4];
      zoom.into({ x: [at[0] - w, at[0] + w], y: [at[1] - h, at[1] + h] });
    } else if (event.key === "-" || event.key === "Escape") zoom.back();
    else return;
    event.preventDefault();
  };
  const size = `${count(view.shape[0])} × ${count(view.shape[1])} values`;
  const cross = spot && {
    left: plot.left + ((spot[0] - x[0]) / (x[1] - x[0] || 1)) * plot.width,
    top: plot.top + ((y[1] - spot[1]) / (y[1] - y[0] || 1)) * plot.height,
  };
  return (
    <Card
      figure={figure}
      facts={
        view.grid.averaged ? `${size}, averaged to ${view.grid.rows} × ${view.grid.cols}` : size
      }
      tools={
        view.layers.length > 1 && (
          <div class="segments" role="group" aria-label="Layer">
            {view.layers.map((layer) => (
              <Toggle
                key={layer}
                pressed={(figure.layer || view.layer) === layer}
                onToggle={() => figure.setLayer(layer)}
              >
                {layerNames[layer] ?? layer}
              </Toggle>
            ))}
          </div>
        )
      }
    >
      <Readout at={null} readings={readings} />
      <p class="axis-title">{yTitle}</p>
      <div ref={host} class="heatmap" style={{ minHeight: `${height}px` }}>
        <div
          class="surface zooms"
          role="group"
          aria-label={`Heatmap of ${title}, ${view.layer}: ${size}, from ${number(view.value_range?.[0])} to ${number(view.value_range?.[1])}, mean ${number(view.mean)}`}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: arrows move the cursor, + and - zoom
          tabIndex={0}
          style={{ width: `${used}px`, height: `${height}px` }}
          onKeyDown={onKeyDown}
          {...drag.handlers}
        >
          <canvas ref={canvas} />
          {cross && !drag.box && (
            <>
              <i
                class="cross-x"
                style={{
                  left: `${cross.left}px`,
                  top: `${plot.top}px`,
                  height: `${plot.height}px`,
                }}
              />
              <i
                class="cross-y"
                style={{ top: `${cross.top}px`, left: `${plot.left}px`, width: `${plot.width}px` }}
              />
            </>
          )}
          {drag.box && (
            <i
              class="selection"
              style={{
                left: `${drag.box.left}px`,
                top: `${drag.box.top}px`,
                width: `${drag.box.width}px`,
                height: `${drag.box.height}px`,
              }}
            />
          )}
        </div>
        {cells && cut && (
          <Profiles
            grid={cells.grid}
            values={cells.values}
            cut={cut}
            names={[xTitle, yTitle]}
            window={{ x, y }}
            height={height}
          />
        )}
      </div>
      {fault && (
        <p class="card-problem" role="alert">
          The values could not be read: {fault}.
        </p>
      )}
    </Card>
  );
}
