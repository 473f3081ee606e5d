// Light and dark: the system's choice until the reader makes another.

import { useEffect, useState } from "preact/hooks";

export type Theme = "light" | "dark";

const key = "asgard.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set<() => void>();

function chosen(): Theme | null {
  try {
    const value = localStorage.getItem(key);
    return value === "light" || value === "dark" ? value : null;
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
    return null;
  }
}

let present: Theme = chosen() ?? (system.matches ? "dark" : "light");

function show(theme: Theme): void {
  present = theme;
  document.documentElement.dataset["theme"] = theme;
  for (const watcher of watchers) watcher();
}

export function startTheme(): void {
  show(present);
  system.addEventListener("change", () => {
    if (chosen() === null) show(system.matches ? "dark" : "light");
  });
}

export function toggleTheme(): void {
  const next = present === "dark" ? "light" : "dark";
  const systemTheme: Theme = system.matches ? "dark" : "light";
  try {
    if (next === systemTheme) localStorage.removeItem(key);
    else localStorage.setItem(key, next);
  } catch {
    // See above.
  }
  show(next);
}

/** The theme in force; figures draw themselves again when it changes. */
export function useTheme(): Theme {
  const [theme, setTheme] = useState(present);
  useEffect(() => {
    const watcher = () => setTheme(present);
    watchers.add(watcher);
    watcher();
    return () => {
      watchers.delete(watcher);
    };
  }, []);
  return theme;
}
