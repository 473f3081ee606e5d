import type { Run } from "../api/types";
import { count, plural } from "../format";
import { Ago, Elapsed } from "../frame/clock";
import { BinIcon } from "../frame/icons";
import { Status } from "../frame/status";
import { navigate, runPath } from "../router";
import { memo } from "./memo";

interface Props {
  run: Run;
  /** Position in the whole list, from 0. */
  index: number;
  fresh: boolean;
  gone: boolean;
  /** The one row that Tab reaches; arrows move on from it. */
  current: boolean;
  onFocus: (index: number) => void;
  onDelete: (run: Run) => void;
}

function Mono({ text, label }: { text: string | null; label: string }) {
  if (!text) {
    return (
      <span class="none" title={`No ${label}`}>
        ·
      </span>
    );
  }
  return <code title={text}>{text}</code>;
}

export const Row = memo(({ run, index, fresh, gone, current, onFocus, onDelete }: Props) => {
  const tabIndex = current ? 0 : -1;
  const tags = run.tags ?? [];
  const open = (event: MouseEvent) => {
    const onControl = (event.target as Element).closest("a, button");
    if (onControl || gone || window.getSelection()?.toString()) return;
    navigate(runPath(run.id));
  };
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the link inside does the same from the keyboard
    <div
      role="row"
      tabIndex={-1}
      class={`row${fresh ? " fresh" : ""}${gone ? " gone" : ""}`}
      aria-rowindex={index + 2}
      data-run={run.id}
      onClick={open}
      onFocusCapture={() => onFocus(index)}
    >
      <div role="cell" class="cell-status">
        {gone ? <span class="status off">Deleted</span> : <Status run={run} />}
      </div>
      <div role="cell" class="cell-name">
        <a href={runPath(run.id)} tabIndex={tabIndex} title={run.name}>
          {run.name}
        </a>
        {tags.slice(0, 3).map((tag) => (
          <span class="tag" key={tag}>
            {tag}
          </span>
        ))}
        {tags.length > 3 && <span class="tag more">+{tags.length - 3}</span>}
      </div>
      <div role="cell" class="cell-equation">
        <Mono text={run.equation} label="equation" />
      </div>
      <div role="cell" class="cell-circuit">
        <Mono text={run.circuit} label="circuit" />
      </div>
      <div role="cell" class="cell-results" title={plural(run.result_count, "result")}>
        {count(run.result_count)}
        <span class="unit">{run.result_count === 1 ? " result" : " results"}</span>
      </div>
      <div role="cell" class="cell-started">
        <Ago time={run.created_at} />
      </div>
      <div role="cell" class="cell-took">
        {run.finished_at || run.live ? (
          <Elapsed from={run.created_at} to={run.finished_at} />
        ) : (
          <span class="none">·</span>
        )}
      </div>
      <div role="cell" class="cell-actions">
        {!gone && (
          <button
            type="button"
            class="icon-button"
            tabIndex={tabIndex}
            aria-label={`Delete ${run.name}`}
            title="Delete"
            onClick={() => onDelete(run)}
          >
            <BinIcon />
          </button>
        )}
      </div>
    </div>
  );
});
