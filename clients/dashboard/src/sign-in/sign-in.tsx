import { useEffect, useRef, useState } from "preact/hooks";
import { loginPath, type Session, sessions } from "../api/session";

const problems: Record<string, string> = {
  state: "That sign-in was begun elsewhere, or too long ago. Begin again.",
  denied: "The sign-in was declined.",
  provider:
    "The sign-in did not succeed. Begin again; if it happens again, ask who runs this server.",
  unreachable: "The identity provider does not answer now. Try again in a moment.",
};

interface Props {
  session: Session;
  /** Where to go then: where one was. */
  back: string;
  problem?: string | null;
}

/** What is shown instead of the page to whom the server does not know. */
export function SignIn({ session, back, problem }: Props) {
  const { ways, ended } = session;
  const said = problem ? (problems[problem] ?? problems["provider"]) : null;
  const byProvider = ways?.includes("oidc");
  const byKey = ways?.includes("key");

  useEffect(() => {
    document.title = "Sign in \u00b7 Asgard";
  }, []);

  if (ways === null) return null;
  return (
    <section class="sign-in" aria-labelledby="sign-in-title">
      <h1 id="sign-in-title">Sign in</h1>
      <p class="lead">
        {ended ? `You are not signed in any more: ${ended}.` : `${location.host} asks who you are.`}
      </p>
      {said && (
        <p class="notice" role="alert">
          {said}
        </p>
      )}
      {!window.isSecureContext && (
        <p class="notice">
          This page came by HTTP. Browsers keep who signs in by HTTPS only: open it by that.
        </p>
      )}
      {byProvider && (
        <a class="button primary" href={loginPath(back)}>
          Sign in
        </a>
      )}
      {byProvider && byKey && (
        <p class="or">
          <span>or with an API key</span>
        </p>
      )}
      {byKey && <KeyForm back={back} alone={!byProvider} />}
      {ways.length === 0 && (
        <p>
          Nobody can sign in by a browser here: the gateway has no <code>ASGARD_SESSION_KEY</code>.
          Programs show an API key in the header <code>Authorization</code>.
        </p>
      )}
    </section>
  );
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function KeyForm({ back, alone }: { back: string; alone: boolean }) {
  const input = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    if (alone) input.current?.focus();
  }, [alone]);

  async function submit(event: Event) {
    event.preventDefault();
    const key = input.current?.value.trim();
    if (!key) {
      setProblem("Paste a key first");
      input.current?.focus();
      return;
    }
    setBusy(true);
    setProblem(null);
    const wrong = await sessions.signInWithKey(key);
    if (wrong !== null) {
      setBusy(false);
      setProblem(wrong);
      input.current?.select();
      return;
    }
    // Loaded anew: nothing of what somebody else was shown stays.
    location.assign(back);
  }

  return (
    <form onSubmit={submit}>
      <label for="api-key">API key</label>
      <input
        ref={input}
        id="api-key"
        type="password"
        autocomplete="off"
        spellcheck={false}
        placeholder={"sk_user_\u2026"}
        aria-invalid={problem !== null}
        aria-describedby={problem ? "key-problem" : "key-help"}
      />
      {problem && (
        <p id="key-problem" class="problem" role="alert">
          {capital(problem)}.
        </p>
      )}
      <button type="submit" class={alone ? "button primary" : "button"} disabled={busy}>
        {busy ? "Signing in\u2026" : "Sign in with this key"}
      </button>
      <p id="key-help" class="aside">
        A key is made by <code>asgard keys create</code>. It stays in a sealed cookie of this
        browser until you sign out.
      </p>
    </form>
  );
}
