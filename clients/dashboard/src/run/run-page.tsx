import { useEffect, useRef, useState } from "preact/hooks";
import type { Run } from "../api/types";
import { plural } from "../format";
import { Ago, Elapsed } from "../frame/clock";
import { CopyButton } from "../frame/copy-button";
import { BinIcon } from "../frame/icons";
import { Status } from "../frame/status";
import { navigate } from "../router";
import { DeleteDialog } from "../runs/delete-dialog";
import { runList } from "../runs/store";
import { About, hasAbout } from "./about";
import { ResultCard } from "./result-card";
import { useRun } from "./use-run";

function Header({ run, onDelete }: { run: Run; onDelete: () => void }) {
  const over = run.finished_at !== null || run.live;
  return (
    <header class="run-head">
      <p class="crumbs">
        <a href="/runs">‹ All runs</a>
      </p>
      <div class="run-title">
        <h1>{run.name}</h1>
        <button type="button" class="button quiet" onClick={onDelete}>
          <BinIcon />
          Delete
        </button>
      </div>
      <ul class="run-facts">
        <li>
          <Status run={run} />
        </li>
        <li>
          started <Ago time={run.created_at} />
        </li>
        {over && (
          <li>
            {run.finished_at ? "took " : "running for "}
            <Elapsed from={run.created_at} to={run.finished_at} />
          </li>
        )}
        <li>{plural(run.result_count, "result")}</li>
        <li class="run-id">
          <code class="id">{run.id}</code>
          <CopyButton text={run.id} what="id" />
        </li>
        {(run.tags ?? []).length > 0 && (
          <li class="run-tags">
            {(run.tags ?? []).map((tag) => (
              <span class="tag" key={tag}>
                {tag}
              </span>
            ))}
          </li>
        )}
      </ul>
    </header>
  );
}

/** Asks for more results when it comes near the screen. */
function More({ onSeen }: { onSeen: () => void }) {
  const place = useRef<HTMLParagraphElement>(null);
  const latest = useRef(onSeen);
  latest.current = onSeen;
  useEffect(() => {
    const sight = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) latest.current();
      },
      { rootMargin: "600px 0px" },
    );
    if (place.current) sight.observe(place.current);
    return () => sight.disconnect();
  });
  return (
    <p ref={place} class="list-foot">
      Reading more results…
    </p>
  );
}

function NoResults({ run }: { run: Run }) {
  const code = `storage.add_result(run_id="${run.id}", result_type="Solution1D",
                   data={"x": x, "computed": y})`;
  return (
    <section class="message">
      <h2>{run.live ? "Waiting for the first result" : "This run has no results"}</h2>
      <p>Each result appears here as soon as it is saved:</p>
      <div class="code-block">
        <pre>
          <code>{code}</code>
        </pre>
      </div>
    </section>
  );
}

export function RunPage({ runId }: { runId: string }) {
  const { run, results, hasMore, versions, problem, deleted, more, retry } = useRun(runId);
  const [asking, setAsking] = useState(false);
  useEffect(() => {
    document.title = `${run?.name ?? "Run"} \u00b7 Asgard`;
  }, [run?.name]);

  if (problem && !run) {
    return (
      <section class="message" role="alert">
        <h1>{problem.isMissing ? "There is no such run" : "This run could not be read"}</h1>
        <p>
          {problem.isMissing
            ? "It may have been deleted, or the storage folder is another one."
            : `${problem.message}.`}
          {problem.requestId && ` Request ${problem.requestId}.`}
        </p>
        <p class="message-buttons">
          <a class="button" href="/runs">
            All runs
          </a>
          <button type="button" class="button" onClick={retry}>
            Try again
          </button>
        </p>
      </section>
    );
  }
  if (!run) return <div class="run-page waiting" aria-busy="true" />;
  return (
    <div class="run-page">
      <Header run={run} onDelete={() => setAsking(true)} />
      {deleted && (
        <p class="notice" role="alert">
          This run has been deleted. What you see is its last state. <a href="/runs">All runs</a>
        </p>
      )}
      <div class={hasAbout(run) ? "run-body" : "run-body plain"}>
        {hasAbout(run) && <About run={run} />}
        <div class="results">
          {results.length === 0 && <NoResults run={run} />}
          {results.map((result) => (
            <ResultCard
              key={result.id}
              result={result}
              version={versions.get(result.id) ?? 0}
              live={run.live && !deleted}
            />
          ))}
          {hasMore && <More onSeen={more} />}
        </div>
      </div>
      {asking && (
        <DeleteDialog
          run={run}
          onClose={() => setAsking(false)}
          onDeleted={() => {
            runList.forget(run.id);
            navigate("/runs");
          }}
        />
      )}
    </div>
  );
}
