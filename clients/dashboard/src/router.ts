// Addresses: `/` and `/runs` (the list, `?q=` its search), `/runs/<id>`, `/sign-in` (why it failed).

import { useEffect, useState } from "preact/hooks";

export type Route =
  | { page: "list"; query: string }
  | { page: "run"; runId: string }
  | { page: "sign-in"; problem: string | null; back: string }
  | { page: "unknown"; path: string };

export function routeOf(location: Location): Route {
  const path = location.pathname.replace(/\/+$/, "") || "/";
  if (path === "/" || path === "/runs") {
    return { page: "list", query: new URLSearchParams(location.search).get("q") ?? "" };
  }
  if (path === "/sign-in") {
    const search = new URLSearchParams(location.search);
    return { page: "sign-in", problem: search.get("problem"), back: here(search.get("return")) };
  }
  const run = /^\/runs\/([^/]+)$/.exec(path);
  if (run?.[1]) {
    try {
      return { page: "run", runId: decodeURIComponent(run[1]) };
    } catch {
      // A broken escape is an address nobody gave.
    }
  }
  return { page: "unknown", path };
}

/** A path of this page: what an address says may lead anywhere. */
function here(path: string | null): string {
  if (!path?.startsWith("/")) return "/runs";
  const found = new URL(path, window.location.origin);
  if (found.origin !== window.location.origin || found.pathname === "/sign-in") return "/runs";
  return found.pathname + found.search;
}

const watchers = new Set<() => void>();

function announce(): void {
  for (const watcher of watchers) watcher();
}

export function navigate(path: string): void {
  // Where the reader was, so that going back returns there.
  history.replaceState({ scrollY: window.scrollY }, "");
  history.pushState({ scrollY: 0 }, "", path);
  announce();
  window.scrollTo(0, 0);
}

export function replaceAddress(path: string): void {
  history.replaceState(history.state, "", path);
}

export function runPath(runId: string): string {
  return `/runs/${encodeURIComponent(runId)}`;
}

export function listPath(query: string): string {
  return query ? `/runs?q=${encodeURIComponent(query)}` : "/runs";
}

/** Follows links within the page without loading it anew. */
function onClick(event: MouseEvent): void {
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  if (!plain || event.altKey || event.defaultPrevented) return;
  const link = (event.target as Element | null)?.closest?.("a");
  if (!link || link.target || link.origin !== location.origin || link.hash) return;
  if (routeOf(new URL(link.href) as unknown as Location).page === "unknown") return;
  event.preventDefault();
  navigate(link.pathname + link.search);
}

export function startRouter(): void {
  history.scrollRestoration = "manual";
  document.addEventListener("click", onClick);
  window.addEventListener("popstate", (event) => {
    announce();
    const state = event.state as { scrollY?: number } | null;
    // After the page has drawn what it knows.
    requestAnimationFrame(() => window.scrollTo(0, state?.scrollY ?? 0));
  });
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => routeOf(location));
  useEffect(() => {
    const watcher = () => setRoute(routeOf(location));
    watchers.add(watcher);
    return () => {
      watchers.delete(watcher);
    };
  }, []);
  return route;
}
