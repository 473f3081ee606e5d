import { useEffect, useRef, useState } from "preact/hooks";
import { asProblem, deleteRun, type Problem } from "../api/client";
import type { Run } from "../api/types";
import { plural } from "../format";

interface Props {
  run: Run;
  onDeleted: () => void;
  onClose: () => void;
}

/** Asks before a run is deleted; what goes with it is said. */
export function DeleteDialog({ run, onDeleted, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);

  useEffect(() => dialog.current?.showModal(), []);

  async function confirm() {
    setBusy(true);
    setProblem(null);
    try {
      await deleteRun(run.id);
    } catch (error) {
      const found = asProblem(error);
      if (!found.isMissing) {
        setBusy(false);
        setProblem(found);
        return;
      }
    }
    dialog.current?.close();
    onDeleted();
  }

  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="delete-title" onClose={onClose}>
      <h2 id="delete-title">Delete this run?</h2>
      <p>
        <strong>{run.name}</strong>, {plural(run.result_count, "result")} and the arrays that belong
        to them will be deleted from storage. This cannot be undone.
      </p>
      {problem && (
        <p class="problem" role="alert">
          It could not be deleted: {problem.message}.
        </p>
      )}
      <div class="dialog-buttons">
        <button
          type="button"
          class="button"
          disabled={busy}
          onClick={() => dialog.current?.close()}
        >
          Keep it
        </button>
        <button type="button" class="button danger" disabled={busy} onClick={confirm}>
          {busy ? "Deleting\u2026" : "Delete run"}
        </button>
      </div>
    </dialog>
  );
}
