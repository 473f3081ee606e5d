import { Component, type ComponentChildren } from "preact";
import { TopBar } from "./frame/top-bar";
import { useRoute } from "./router";
import { RunPage } from "./run/run-page";
import { ListPage } from "./runs/list-page";

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

export function App() {
  const route = useRoute();
  return (
    <>
      <a class="skip" href="#content">
        Skip to content
      </a>
      <TopBar />
      <main id="content" tabIndex={-1}>
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
      </main>
    </>
  );
}
