import { useId, useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import type { Json, OptimizationView, ParameterSeries, Range } from "../api/types";
import { align, sampleAt } from "../figure/align";
import { token } from "../figure/colours";
import { Plot, type PlotSeries } from "../figure/plot";
import { place, type Reading, Readout } from "../figure/readout";
import { number, plural } from "../format";
import { Card, Toggle } from "../run/card";
import type { Figure } from "../run/figure";

const lossLooks: PlotSeries[] = [
  { label: "loss", colour: "series-1", width: 1, alpha: 0.55 },
  { label: "best so far", colour: "series-1", width: 2.25, stepped: true },
];
const parameterLook: PlotSeries[] = [{ label: "value", colour: "series-1", width: 1.75 }];

/** Where the parameter ought to end, when the result says so. */
export function optimumOf(optimum: Json, name: string, position: number): number | null {
  const inner = /^(.+)\[(\d+)\]$/.exec(name);
  let value: Json | undefined;
  if (typeof optimum === "number" && position === 0) value = optimum;
  else if (Array.isArray(optimum)) value = optimum[position];
  else if (optimum !== null && typeof optimum === "object") {
    const named = (key: string) => (optimum as { [key: string]: Json })[key];
    const list = inner?.[1] ? named(inner[1]) : undefined;
    value = Array.isArray(list) ? list[Number(inner?.[2])] : named(name);
    const nested = named("parameters");
    if (value === undefined && nested !== undefined) return optimumOf(nested, name, position);
  }
  return typeof value === "number" ? value : null;
}

function drawLevel(plot: uPlot, context: CanvasRenderingContext2D, value: number): void {
  const y = Math.round(plot.valToPos(value, "y", true)) + 0.5;
  const { left, width } = plot.bbox;
  context.save();
  context.strokeStyle = token("series-2");
  context.lineWidth = Math.max(1, window.devicePixelRatio);
  context.setLineDash([5 * window.devicePixelRatio, 4 * window.devicePixelRatio]);
  context.beginPath();
  context.moveTo(left, y);
  context.lineTo(left + width, y);
  context.stroke();
  context.restore();
}

function ParameterPlot(props: {
  parameter: ParameterSeries;
  goal: number | null;
  window: Range | null;
  group: string;
  at: number | null;
  onZoom: (range: Range) => void;
  onBack: () => void;
}) {
  const { parameter, goal, at } = props;
  const data = useMemo(() => align([parameter]), [parameter]);
  const include = useMemo(() => (goal === null ? [] : [goal]), [goal]);
  const last = parameter.y.at(-1) ?? null;
  const value = at === null ? last : sampleAt(parameter, at);
  return (
    <figure class="small-figure">
      <figcaption>
        <span class="small-name">{parameter.name}</span>
        <output>{number(value)}</output>
        {goal !== null && (
          <span class="goal">
            <i class="swatch dash series-2" aria-hidden="true" />
            optimum {number(goal)}
          </span>
        )}
      </figcaption>
      <Plot
        name={`Evolution of ${parameter.name}, last ${number(last)}${goal === null ? "" : `, optimum ${number(goal)}`}`}
        data={data}
        series={parameterLook}
        height={112}
        small
        window={props.window}
        include={include}
        group={props.group}
        marks={(plot, context) => goal !== null && drawLevel(plot, context, goal)}
        onZoom={props.onZoom}
        onBack={props.onBack}
      />
    </figure>
  );
}

export function OptimizationFigure({ figure }: { figure: Figure<OptimizationView> }) {
  const { view, zoom, title } = figure;
  const [log, setLog] = useState<boolean | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const group = useId();
  const { loss, best } = view;
  const positive = loss.y.every((value) => value === null || value > 0);
  const logarithmic = positive && (log ?? view.log_suggested);
  const data = useMemo(
    () =>
      align([
        { x: loss.x, y: loss.y },
        { x: loss.x, y: loss.best },
      ]),
    [loss],
  );
  const x = view.labels?.x || "step";
  const y = view.labels?.y || "loss";
  const first = data[0][0];
  const last = data[0][data[0].length - 1];
  const whole: Range | null = first === undefined || last === undefined ? null : [first, last];
  const window = zoom.window?.x ?? whole;
  const at = cursor === null ? null : (data[0][cursor] ?? null);
  const readings: Reading[] = [
    {
      label: "loss",
      colour: "series-1",
      look: "faint",
      value: at === null ? undefined : sampleAt(loss, at),
    },
    {
      label: "best so far",
      colour: "series-1",
      value: at === null ? undefined : sampleAt({ x: loss.x, y: loss.best }, at),
    },
  ];
  if (best)
    readings.push({
      label: `best, at ${x} ${best.step},`,
      colour: "series-2",
      look: "dot",
      value: best.loss,
    });
  const zoomInto = (range: Range) => zoom.into({ x: range });
  const markBest = (plot: uPlot, context: CanvasRenderingContext2D) => {
    if (!best || best.loss === null || (logarithmic && best.loss <= 0)) return;
    const scale = globalThis.devicePixelRatio;
    const px = plot.valToPos(best.step, "x", true);
    const py = plot.valToPos(best.loss, "y", true);
    if (px < plot.bbox.left || px > plot.bbox.left + plot.bbox.width) return;
    context.save();
    context.beginPath();
    context.arc(px, py, 4.5 * scale, 0, 2 * Math.PI);
    context.fillStyle = token("surface");
    context.fill();
    context.lineWidth = 2 * scale;
    context.strokeStyle = token("series-2");
    context.stroke();
    context.restore();
  };
  const table = () => [
    { name: x, values: loss.x },
    { name: "loss", values: loss.y },
    { name: "best so far", values: loss.best },
  ];
  return (
    <Card
      figure={figure}
      facts={plural(view.n, "step")}
      table={table}
      tools={
        <Toggle
          pressed={logarithmic}
          onToggle={setLog}
          disabled={!positive}
          title={
            positive ? "Logarithmic scale of the loss" : "Values at or below 0 have no logarithm"
          }
        >
          Log
        </Toggle>
      }
    >
      <Readout at={place(x, at, view.x_is_time)} readings={readings} />
      <p class="axis-title">{y}</p>
      <Plot
        name={`Loss of ${title} over ${plural(view.n, "step")}, best ${number(best?.loss ?? null)} at ${x} ${best?.step ?? "unknown"}`}
        data={data}
        series={lossLooks}
        height={260}
        window={window}
        xLabel={x}
        log={logarithmic}
        group={group}
        marks={markBest}
        onZoom={zoomInto}
        onBack={zoom.back}
        onCursor={setCursor}
      />
      {view.parameters.length > 0 && (
        <section class="small-figures" aria-label={`Parameters of ${title}`}>
          {view.parameters.map((parameter, i) => (
            <ParameterPlot
              key={parameter.name}
              parameter={parameter}
              goal={optimumOf(view.optimum, parameter.name, i)}
              window={window}
              group={group}
              at={at}
              onZoom={zoomInto}
              onBack={zoom.back}
            />
          ))}
        </section>
      )}
    </Card>
  );
}
