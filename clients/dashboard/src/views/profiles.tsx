// Cuts through a field along both axes at the cursor, beside a square heatmap.

import { useMemo } from "preact/hooks";
import type uPlot from "uplot";
import type { Grid, Range, Value } from "../api/types";
import { Plot, type PlotSeries } from "../figure/plot";
import { number } from "../format";

const look: PlotSeries[] = [{ label: "value", colour: "series-1", width: 1.5 }];

interface Props {
  grid: Grid;
  values: ArrayLike<number>;
  /** Column and row of the cut. */
  cut: [number, number];
  names: [string, string];
  window: { x: Range; y: Range };
  height: number;
}

function centres(edges: Range, n: number): number[] {
  return Array.from({ length: n }, (_, i) => edges[0] + ((i + 0.5) / n) * (edges[1] - edges[0]));
}

const finite = (value: number | undefined): Value =>
  value === undefined || Number.isNaN(value) ? null : value;

export function Profiles({ grid, values, cut, names, window, height }: Props) {
  const { rows, cols, x_edges, y_edges } = grid;
  const [col, row] = cut;
  const xs = useMemo(() => centres(x_edges, cols), [x_edges, cols]);
  const ys = useMemo(() => centres(y_edges, rows), [y_edges, rows]);
  const along = useMemo<uPlot.AlignedData>(
    () => [xs, xs.map((_, i) => finite(values[row * cols + i]))],
    [xs, values, row, cols],
  );
  const up = useMemo<uPlot.AlignedData>(
    () => [ys, ys.map((_, i) => finite(values[i * cols + col]))],
    [ys, values, col, cols],
  );
  const each = Math.floor(height / 2) - 20;
  const [x, y] = names;
  return (
    <div class="profiles">
      <p class="axis-title">
        along {x} at {y} = {number(ys[row])}
      </p>
      <Plot
        name={`Profile along ${x} at ${y} ${number(ys[row])}`}
        data={along}
        series={look}
        height={each}
        small
        window={window.x}
      />
      <p class="axis-title">
        along {y} at {x} = {number(xs[col])}
      </p>
      <Plot
        name={`Profile along ${y} at ${x} ${number(xs[col])}`}
        data={up}
        series={look}
        height={each}
        small
        window={window.y}
      />
    </div>
  );
}
