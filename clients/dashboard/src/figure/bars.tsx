// A small histogram. All of one figure share their range of values.

import type { Histogram, Range } from "../api/types";
import { number, plural } from "../format";

interface Props {
  /** Null: of nothing yet; what is to be done for one is said in its place. */
  histogram: Histogram | null;
  label: string;
  range: Range;
  /** The one that follows the cursor. */
  marked?: boolean;
}

const width = 160;
const height = 56;

export function Bars({ histogram, label, range, marked }: Props) {
  const [low, high] = range;
  if (histogram === null) return <NoBars label={label} range={range} />;
  const across = (value: number) => ((value - low) / (high - low || 1)) * width;
  const { edges, counts } = histogram;
  // Density, not count: bins of several histograms differ in width.
  const density = counts.map((n, i) => n / ((edges[i + 1] ?? 0) - (edges[i] ?? 0) || 1));
  const tallest = Math.max(...density, 0) || 1;
  const total = counts.reduce((sum, n) => sum + n, 0);
  return (
    <figure class={`bars${marked ? " marked" : ""}`}>
      <figcaption>{label}</figcaption>
      <svg
        viewBox={`0 0 ${width} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`Histogram at ${label}: ${plural(total, "value")} from ${number(edges[0] ?? null)} to ${number(edges.at(-1) ?? null)}`}
      >
        {density.map((value, i) => {
          const left = across(edges[i] ?? 0);
          const right = across(edges[i + 1] ?? 0);
          const tall = (value / tallest) * (height - 4);
          return (
            <rect
              key={i}
              x={left}
              y={height - tall}
              width={Math.max(0.6, right - left - 0.6)}
              height={tall}
            >
              <title>
                {number(edges[i] ?? null)} to {number(edges[i + 1] ?? null)}: {counts[i]}
              </title>
            </rect>
          );
        })}
      </svg>
      <Ends range={range} />
    </figure>
  );
}

function NoBars({ label, range }: { label: string; range: Range }) {
  return (
    <figure class="bars">
      <figcaption>{label}</figcaption>
      <p class="bars-none">point at the figure</p>
      <Ends range={range} />
    </figure>
  );
}

function Ends({ range: [low, high] }: { range: Range }) {
  return (
    <div class="bars-range">
      <span>{number(low, 3)}</span>
      <span>{number(high, 3)}</span>
    </div>
  );
}
