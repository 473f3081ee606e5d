// uPlot in a component: created once, fed with new data afterwards, so that a
// growing result never loses its zoom, its cursor or its place.

import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Range } from "../api/types";
import { logTick, ticks } from "../format";
import { useTheme } from "../theme";
import { figureFont, token, withAlpha } from "./colours";
import { powersOfTen, roundTicks, snapped, snappedLog, widened } from "./scale";

export interface PlotSeries {
  label: string;
  /** A token of the style sheet. */
  colour: string;
  width?: number;
  alpha?: number;
  dash?: number[];
  stepped?: boolean;
  /** Only single points, no line. */
  dots?: boolean;
}

export interface PlotBand {
  /** Indices of the upper and the lower series, from 1. */
  between: [number, number];
  colour: string;
  alpha: number;
}

export interface PlotProps {
  /** What the figure shows, for those who do not see it. */
  name: string;
  data: uPlot.AlignedData;
  series: PlotSeries[];
  bands?: PlotBand[];
  height: number;
  /** The window of x to draw. */
  window: Range | null;
  xLabel?: string | undefined;
  log?: boolean;
  /** x holds seconds since 1970. */
  time?: boolean | undefined;
  /** Plots of one group share their cursor. */
  group?: string;
  /** Without labels and with little room: one of several small figures. */
  small?: boolean;
  hideX?: boolean;
  /** Values of y that must be within sight, such as an optimum. */
  include?: number[];
  marks?: (plot: uPlot, context: CanvasRenderingContext2D) => void;
  onZoom?: (window: Range) => void;
  onBack?: () => void;
  /** The index into the data under the cursor. */
  onCursor?: (index: number | null) => void;
}

/** How many parts the y axis has room for. */
function partsOf(props: PlotProps): number {
  const room = props.height - (props.xLabel ? 54 : 36);
  return Math.max(2, Math.floor(room / (props.height < 170 ? 22 : 34)));
}

function axes(props: PlotProps, stepOfY: () => number): uPlot.Axis[] {
  const line = { stroke: token("grid"), width: 1 };
  const shared = {
    stroke: token("ink-3"),
    font: figureFont,
    labelFont: figureFont,
    grid: line,
    ticks: { show: false },
  };
  const x: uPlot.Axis = {
    ...shared,
    size: props.hideX ? 10 : 26,
    gap: 6,
    space: props.small ? 56 : 72,
    border: { show: true, stroke: token("border-control"), width: 1 },
  };
  if (!props.time) {
    const room = props.small ? 56 : 72;
    x.splits = (plot, _axis, min, max) =>
      roundTicks(min, max, plot.bbox.width / devicePixelRatio / room);
  }
  if (props.hideX) x.values = () => [];
  else if (!props.time) x.values = (_plot, splits) => ticks(splits);
  if (props.xLabel && !props.hideX)
    Object.assign(x, { label: props.xLabel, labelSize: 18, labelGap: 0 });
  const y: uPlot.Axis = {
    ...shared,
    gap: 6,
    splits: (_plot, _axis, min, max) => roundTicks(min, max, 1, stepOfY()),
    size: (_plot, values) => {
      const longest = Math.max(3, ...(values ?? []).map((text) => text?.length ?? 0));
      return Math.max(52, Math.ceil(longest * 6.4) + 14);
    },
    values: (_plot, splits) => (props.log ? splits.map(logTick) : ticks(splits)),
  };
  if (props.log) {
    y.filter = (_plot, splits) => splits;
    y.splits = (plot, _axis, min, max) =>
      powersOfTen(min, max, plot.bbox.height / devicePixelRatio / 28);
  }
  return [x, y];
}

function seriesOptions(series: PlotSeries): uPlot.Series {
  const alpha = series.alpha ?? 1;
  const stroke = alpha === 1 ? token(series.colour) : withAlpha(token(series.colour), alpha);
  const options: uPlot.Series = {
    label: series.label,
    stroke,
    width: series.width ?? 2,
    // Between pixels: a gentle slope is no staircase.
    pxAlign: 0,
    points: { space: 16, size: 4, stroke, fill: stroke },
  };
  if (series.dash) options.dash = series.dash;
  if (series.stepped)
    options.paths = uPlot.paths.stepped?.({ align: 1 }) as uPlot.Series.PathBuilder;
  if (series.dots) {
    options.paths = () => null;
    options.points = { show: true, size: 5, stroke, fill: stroke };
  }
  if (alpha < 0.5 || series.dash) options.points = { show: false };
  return options;
}

/** The nearest index at which a series has a value, for its mark under the cursor. */
function nearest(plot: uPlot, series: number, index: number): number {
  const values = plot.data[series];
  if (!values || values[index] != null) return index;
  for (let away = 1; away < 200; away++) {
    if (values[index - away] != null) return index - away;
    if (values[index + away] != null) return index + away;
  }
  return index;
}

export function Plot(props: PlotProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const theme = useTheme();
  // What cannot be changed in a plot that exists.
  const shape = useMemo(
    () =>
      JSON.stringify([
        theme,
        props.series,
        props.bands,
        props.log,
        props.height,
        props.xLabel,
        props.group,
        props.include,
      ]),
    [
      theme,
      props.series,
      props.bands,
      props.log,
      props.height,
      props.xLabel,
      props.group,
      props.include,
    ],
  );

  useLayoutEffect(() => {
    const element = host.current;
    if (!element) return;
    let dragging = false;
    let stepOfY = 1;
    const parts = partsOf(latest.current);
    const { log, include } = latest.current;
    const options: uPlot.Options = {
      width: Math.max(120, element.clientWidth),
      height: latest.current.height,
      padding: [10, 14, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        // Faint series go without a dot under the cursor.
        points: {
          width: (_made, _index, size) => (size > 0 ? 2 : 0),
          size: (_made, index) => ((latest.current.series[index - 1]?.alpha ?? 1) < 0.5 ? 0 : 7),
        },
        drag: { x: true, y: false, setScale: false, dist: 6 },
        dataIdx: nearest,
        bind: {
          dblclick: () => () => {
            latest.current.onBack?.();
            return null;
          },
        },
      },
      scales: {
        x: {
          time: latest.current.time ?? false,
          range: (_plot, min, max) => widened(...(latest.current.window ?? ([min, max] as Range))),
        },
        y: log
          ? { distr: 3, range: (_plot, min, max) => snappedLog(min, max) }
          : {
              range: (_plot, min, max) => {
                const { range, step } = snapped(min, max, include, parts);
                stepOfY = step;
                return range;
              },
            },
      },
      axes: axes(latest.current, () => stepOfY),
      series: [{}, ...latest.current.series.map(seriesOptions)],
      bands: (latest.current.bands ?? []).map((band) => ({
        series: band.between,
        fill: withAlpha(token(band.colour), band.alpha),
      })),
      hooks: {
        ready: [
          (made) => {
            made.over.addEventListener("pointerdown", () => {
              dragging = true;
            });
          },
        ],
        setSelect: [
          (made) => {
            const { left, width } = made.select;
            if (!dragging || width < 6) return;
            dragging = false;
            made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            latest.current.onZoom?.([made.posToVal(left, "x"), made.posToVal(left + width, "x")]);
          },
        ],
        setCursor: [(made) => latest.current.onCursor?.(made.cursor.idx ?? null)],
        draw: [
          (made) => {
            element.dataset["drawn"] = String(Number(element.dataset["drawn"] ?? 0) + 1);
            latest.current.marks?.(made, made.ctx);
          },
        ],
      },
    };
    if (latest.current.group) {
      const cursor = options.cursor as uPlot.Cursor;
      cursor.sync = { key: latest.current.group, scales: ["x", null], setSeries: false };
    }
    const made = new uPlot(options, latest.current.data, element);
    plot.current = made;
    const resize = new ResizeObserver(() => {
      const width = Math.max(120, element.clientWidth);
      if (width !== made.width) made.setSize({ width, height: latest.current.height });
    });
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  const low = props.window?.[0];
  const high = props.window?.[1];
  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    const data = props.data;
    const xs = data[0];
    const [min, max] = widened(low ?? xs[0], high ?? xs[xs.length - 1]);
    made.batch(() => {
      if (made.data !== data) made.setData(data, false);
      // The plots of a group mirror the selection that led here.
      made.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      made.setScale("x", { min, max });
    });
  }, [props.data, low, high]);

  const onKeyDown = (event: KeyboardEvent) => {
    const made = plot.current;
    if (!made || event.ctrlKey || event.metaKey || event.altKey) return;
    const xs = made.data[0];
    const last = xs.length - 1;
    const at = made.cursor.idx ?? Math.floor(last / 2);
    const stride = event.shiftKey ? Math.max(1, Math.round(last / 20)) : 1;
    const moves: Record<string, number> = {
      ArrowLeft: at - stride,
      ArrowRight: at + stride,
      Home: 0,
      End: last,
    };
    const to = moves[event.key];
    const [min, max] = [made.scales["x"]?.min ?? 0, made.scales["x"]?.max ?? 1];
    if (to !== undefined) {
      const index = Math.max(0, Math.min(last, to));
      const left = made.valToPos(xs[index] ?? 0, "x");
      made.setCursor({ left, top: made.over.clientHeight / 2 });
    } else if (event.key === "+" && props.onZoom) {
      const centre = xs[at] ?? (min + max) / 2;
      const half = (max - min) / 4;
      props.onZoom([Math.max(min, centre - half), Math.min(max, centre + half)]);
    } else if (event.key === "-" || event.key === "Escape") {
      props.onBack?.();
    } else {
      return;
    }
    event.preventDefault();
  };

  return (
    <div
      ref={host}
      class={`plot${props.small ? " small" : ""}${props.onZoom ? " zooms" : ""}`}
      role="group"
      aria-label={props.name}
      tabIndex={props.small ? undefined : 0}
      style={{ height: `${props.height}px` }}
      onKeyDown={props.small ? undefined : onKeyDown}
    />
  );
}
