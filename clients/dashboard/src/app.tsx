import { Component, type ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { TopBar } from "./frame/top-bar";
import { useRoute } from "./router";
import { RunPage } from "./run/run-page";
import { ListPage } from "./runs/list-page";
import { SignIn } from "./sign-in/sign-in";
import { useSession } from "./sign-in/use-session";

/** Keeps a fault in one page from blanking the frame around it. */
class Guard extends Component<{ children: ComponentChildren }, { fault: string | null }> {
  override state = { fault: null };

  override componentDidCatch(error: unknown): void {
    console.error(error);
    this.setState({ fault: String(error) });
  }

  override render() {
    if (this.state.fault === null) return this.props.children;
    return (
      <section class="message" role="alert">
        <h1>This page could not be drawn</h1>
        <p>{this.state.fault}</p>
        <button type="button" onClick={() => location.reload()}>
          Load again
        </button>
      </section>
    );
  }
}

/** The page of an address, or the way in for whom the server does not know. */
function Content() {
  const route = useRoute();
  const session = useSession();
  const over = route.page === "sign-in" && (session.phase === "in" || session.phase === "open");
  useEffect(() => {
    if (over && route.page === "sign-in") location.replace(route.back);
  }, [over, route]);
  if (route.page === "sign-in") {
    return over ? null : <SignIn session={session} back={route.back} problem={route.problem} />;
  }
  if (session.phase === "out") {
    return <SignIn session={session} back={location.pathname + location.search} />;
  }
  return (
    <Guard key={route.page === "run" ? route.runId : route.page}>
      {route.page === "list" && <ListPage query={route.query} />}
      {route.page === "run" && <RunPage runId={route.runId} />}
      {route.page === "unknown" && (
        <section class="message">
          <h1>There is nothing at this address</h1>
          <p>
            <code>{route.path}</code> is no page of Asgard.
          </p>
          <a class="button" href="/runs">
            All runs
          </a>
        </section>
      )}
    </Guard>
  );
}

export function App() {
  return (
    <>
      <a class="skip" href="#content">
        Skip to content
      </a>
      <TopBar />
      <main id="content" tabIndex={-1}>
        <Content />
      </main>
    </>
  );
}
