// The frame of one result: its title, its tools, its figure, its numbers.

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { type Column, DataTable } from "../figure/data-table";
import type { Figure } from "./figure";

interface Props {
  figure: Figure;
  /** A few words on the size of the result. */
  facts?: string;
  tools?: ComponentChildren;
  table?: () => Column[];
  children: ComponentChildren;
}

interface ToggleProps {
  pressed: boolean;
  onToggle: (pressed: boolean) => void;
  disabled?: boolean;
  title?: string;
  children: ComponentChildren;
}

export function Toggle({ pressed, onToggle, disabled, title, children }: ToggleProps) {
  return (
    <button
      type="button"
      class="toggle"
      aria-pressed={pressed}
      disabled={disabled}
      title={title}
      onClick={() => onToggle(!pressed)}
    >
      {children}
    </button>
  );
}

export function Card({ figure, facts, tools, table, children }: Props) {
  const [data, setData] = useState(false);
  const { zoom, title, result, view, problem, pending } = figure;
  const notes = view.notes ?? [];
  return (
    <article class="card" data-result={result.id} data-kind={view.kind} aria-busy={pending}>
      <header class="card-head">
        <div class="card-title">
          <h2 title={title}>{title}</h2>
          <p>
            <span class="type">{result.result_type}</span>
            {facts && <span>{facts}</span>}
          </p>
        </div>
        <div class="tools" role="toolbar" aria-label={`Tools of ${title}`}>
          {zoom.window && (
            <button type="button" class="toggle" onClick={zoom.reset}>
              Whole range
            </button>
          )}
          {tools}
          {table && (
            <Toggle pressed={data} onToggle={setData}>
              Data
            </Toggle>
          )}
        </div>
      </header>
      {problem && (
        <p class="card-problem" role="alert">
          This is the last state that could be read: {problem.message}.{" "}
          <button type="button" class="toggle" onClick={figure.retry}>
            Try again
          </button>
        </p>
      )}
      {children}
      {notes.length > 0 && (
        <ul class="notes">
          {notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      {data && table && <DataTable columns={table()} title={title} />}
    </article>
  );
}
