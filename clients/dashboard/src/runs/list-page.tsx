import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { Run } from "../api/types";
import { count } from "../format";
import { CrossIcon, SearchIcon } from "../frame/icons";
import { listPath, replaceAddress } from "../router";
import { DeleteDialog } from "./delete-dialog";
import { EmptyList, FailedList, NoMatch } from "./states";
import { runList, type Snapshot } from "./store";
import { Table } from "./table";

const typingPause = 120;

export function useRunList(): Snapshot {
  const [snapshot, setSnapshot] = useState(runList.snapshot);
  useEffect(() => {
    const watcher = () => setSnapshot(runList.snapshot);
    watcher();
    return runList.watch(watcher);
  }, []);
  return snapshot;
}

function SearchBox({ query, onQuery }: { query: string; onQuery: (query: string) => void }) {
  const [text, setText] = useState(query);
  const box = useRef<HTMLInputElement>(null);
  const timer = useRef(0);
  useEffect(() => setText(query), [query]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = (event.target as Element).closest("input, textarea, select, dialog");
      if (event.key !== "/" || event.ctrlKey || event.metaKey || typing) return;
      event.preventDefault();
      box.current?.focus();
    };
    document.addEventListener("keydown", onKey);
    return () => {
      document.removeEventListener("keydown", onKey);
      window.clearTimeout(timer.current);
    };
  }, []);
  const change = (value: string, pause: number) => {
    setText(value);
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => onQuery(value.trim()), pause);
  };
  return (
    <search class="search">
      <SearchIcon />
      <input
        ref={box}
        type="search"
        value={text}
        aria-label="Search runs"
        placeholder="Search name, equation, circuit, metadata, note, tag"
        autocomplete="off"
        spellcheck={false}
        onInput={(event) => change(event.currentTarget.value, typingPause)}
        onKeyDown={(event) => {
          if (event.key === "Enter") change(event.currentTarget.value, 0);
          if (event.key === "Escape") change("", 0);
        }}
      />
      {text === "" ? (
        <kbd title="Press / to search">/</kbd>
      ) : (
        <button
          type="button"
          class="icon-button"
          aria-label="Clear the search"
          onClick={() => {
            change("", 0);
            box.current?.focus();
          }}
        >
          <CrossIcon />
        </button>
      )}
    </search>
  );
}

function countText({ total, query, phase, runs }: Snapshot): string {
  if (phase === "loading" && runs.length === 0) return "";
  const number = total > 10_000 ? "10\u2009000+" : count(total);
  const word = total === 1 ? "run" : "runs";
  return query ? `${number} ${word} match${total === 1 ? "es" : ""}` : `${number} ${word}`;
}

export function ListPage({ query }: { query: string }) {
  const list = useRunList();
  const [asked, setAsked] = useState<Run | null>(null);
  useEffect(() => {
    document.title = "Runs \u00b7 Asgard";
    runList.show(query);
  }, [query]);
  const search = useCallback((text: string) => {
    replaceAddress(listPath(text));
    runList.show(text);
  }, []);
  const { phase, runs, problem } = list;
  const settled = phase === "ready" && runs.length === 0 && list.waiting === 0;
  return (
    <div class="list-page">
      <div class="list-head">
        <h1>Runs</h1>
        <SearchBox query={query} onQuery={search} />
        <span class="list-count" role="status">
          {countText(list)}
        </span>
      </div>
      {phase === "failed" && problem && (
        <FailedList problem={problem} onRetry={() => runList.retry()} />
      )}
      {settled && list.query !== "" && <NoMatch query={list.query} onClear={() => search("")} />}
      {settled && list.query === "" && <EmptyList />}
      {phase !== "failed" && !settled && <Table list={list} onDelete={setAsked} />}
      {asked && (
        <DeleteDialog
          key={asked.id}
          run={asked}
          onClose={() => setAsked(null)}
          onDeleted={() => {
            runList.forget(asked.id);
            setAsked(null);
          }}
        />
      )}
    </div>
  );
}
