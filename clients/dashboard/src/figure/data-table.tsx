// The numbers of a figure as a table, for those who read or copy them.

import type { Value } from "../api/types";
import { exactly, plural } from "../format";
import { CopyButton } from "../frame/copy-button";

export interface Column {
  name: string;
  values: ArrayLike<Value | undefined>;
}

const mostRows = 500;

function csv(columns: Column[], rows: number): string {
  const lines = [columns.map((column) => JSON.stringify(column.name)).join(",")];
  for (let i = 0; i < rows; i++) {
    lines.push(columns.map((column) => column.values[i] ?? "").join(","));
  }
  return `${lines.join("\n")}\n`;
}

export function DataTable({ columns, title }: { columns: Column[]; title: string }) {
  const rows = Math.max(0, ...columns.map((column) => column.values.length));
  const shown = Math.min(rows, mostRows);
  return (
    <div class="data">
      <div class="data-head">
        <span>
          {plural(rows, "row")} as drawn
          {shown < rows && `, the first ${shown} shown`}
        </span>
        <CopyButton text={csv(columns, rows)} what="all rows as CSV" />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it */}
      <section class="data-scroll" tabIndex={0} aria-label={`Data of ${title}`}>
        <table>
          <thead>
            <tr>
              {columns.map((column) => (
                <th key={column.name} scope="col">
                  {column.name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {Array.from({ length: shown }, (_, i) => (
              <tr key={i}>
                {columns.map((column) => (
                  <td key={column.name}>
                    {column.values[i] == null ? "·" : exactly(column.values[i])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </div>
  );
}
