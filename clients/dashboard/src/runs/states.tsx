import type { Problem } from "../api/client";
import { CopyButton } from "../frame/copy-button";

const firstRun = `from gimle.asgard.monitor.storage import AsgardStorage
storage = AsgardStorage("./storage")
storage.save_simulation_result("My first run", "Solution1D", {"x": [0, 1, 2], "computed": [0, 1, 4]})`;

/** What a storage without runs shows: how to make the first one. */
export function EmptyList() {
  return (
    <section class="message">
      <h2>No runs yet</h2>
      <p>
        Save a result from Python in this server's storage folder, and it appears here a moment
        later.
      </p>
      <div class="code-block">
        <pre>
          <code>{firstRun}</code>
        </pre>
        <CopyButton text={firstRun} what="these lines" />
      </div>
      <p class="aside">
        Or let the examples fill it: <code>asgard example basic/01_integration.yaml</code>
      </p>
    </section>
  );
}

export function NoMatch({ query, onClear }: { query: string; onClear: () => void }) {
  return (
    <section class="message">
      <h2>No run matches</h2>
      <p>
        Every word of <q>{query}</q> must occur somewhere in a run's name, equation, circuit,
        metadata, note or tags.
      </p>
      <button type="button" class="button" onClick={onClear}>
        Clear the search
      </button>
    </section>
  );
}

export function FailedList({ problem, onRetry }: { problem: Problem; onRetry: () => void }) {
  return (
    <section class="message" role="alert">
      <h2>The runs could not be read</h2>
      <p>
        {problem.message}.{problem.requestId && ` Request ${problem.requestId}.`}
      </p>
      <button type="button" class="button" onClick={onRetry}>
        Try again
      </button>
    </section>
  );
}
