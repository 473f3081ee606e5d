// The legend of a figure, which is also its instrument: it shows the values
// under the cursor, in places that do not move.

import { exactly, isoLocal, number } from "../format";

export interface Reading {
  label: string;
  value?: number | null | undefined;
  /** Words instead of a value. */
  text?: string;
  /** Two ends instead of one value. */
  range?: [number | null, number | null];
  colour?: string;
  look?: "line" | "dash" | "band" | "faint" | "dot" | "disc";
}

/** Where the cursor is along x. */
export function place(
  label: string,
  at: number | null,
  isTime: boolean | undefined,
): Reading | null {
  if (at === null) return null;
  return isTime ? { label, text: isoLocal(new Date(at * 1_000)) } : { label, value: at };
}

export function Readout({ at, readings }: { at: Reading | null; readings: Reading[] }) {
  return (
    <div class="readout">
      {readings.map((reading) => (
        <span class="reading" key={reading.label}>
          {reading.colour && (
            <i class={`swatch ${reading.look ?? "line"} ${reading.colour}`} aria-hidden="true" />
          )}
          <span class="reading-label">{reading.label}</span>
          {reading.range && (
            <output
              class="reading-value"
              title={`${exactly(reading.range[0])} to ${exactly(reading.range[1])}`}
            >
              {number(reading.range[0])} to {number(reading.range[1])}
            </output>
          )}
          {reading.value !== undefined && (
            <output class="reading-value" title={exactly(reading.value)}>
              {number(reading.value)}
            </output>
          )}
        </span>
      ))}
      {at && (
        <span class="reading at">
          <span class="reading-label">{at.label}</span>
          {at.text ? (
            <output class="reading-value">{at.text}</output>
          ) : (
            <output class="reading-value" title={exactly(at.value)}>
              {number(at.value)}
            </output>
          )}
        </span>
      )}
    </div>
  );
}
