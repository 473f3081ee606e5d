import { useState } from "preact/hooks";
import { sessions } from "../api/session";
import { useSession } from "./use-session";

/** Who has signed in, and the way out; nothing where nobody is asked. */
export function SignedIn() {
  const { phase, who } = useSession();
  const [problem, setProblem] = useState<string | null>(null);
  if (phase !== "in" || !who) return null;

  async function signOut() {
    setProblem(null);
    try {
      location.assign(await sessions.signOut());
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    }
  }

  return (
    <span class="signed-in">
      {problem ? (
        <span class="problem" role="alert">
          Not signed out: {problem}
        </span>
      ) : (
        <span class="name" title={who.handle}>
          {who.name}
        </span>
      )}
      <button type="button" class="button plain" onClick={signOut}>
        Sign out
      </button>
    </span>
  );
}
