import { useEffect, useState } from "preact/hooks";
import { updates } from "../api/updates";
import { duration } from "../format";
import { SignedIn } from "../sign-in/signed-in";
import { useSession } from "../sign-in/use-session";
import { toggleTheme, useTheme } from "../theme";
import { useNow } from "./clock";
import { MoonIcon, SunIcon } from "./icons";

function LiveDot() {
  const [connection, setConnection] = useState(updates.connection);
  useEffect(() => {
    const watcher = () => setConnection(updates.connection);
    watcher();
    return updates.watch(watcher);
  }, []);
  useNow(connection.phase === "reconnecting");
  if (connection.phase === "live") {
    return (
      <span class="live ok" role="status" title="Changes appear here as they are saved">
        <i aria-hidden="true" />
        Live updates
      </span>
    );
  }
  if (connection.phase === "connecting") {
    return (
      <span class="live off" role="status">
        <i aria-hidden="true" />
        Connecting
      </span>
    );
  }
  const silent = performance.now() - connection.heardAt;
  const since = silent < 60_000 ? `${Math.floor(silent / 1_000)} s` : duration(silent);
  return (
    <span class="live warn" title="The server does not answer; the page tries again each second">
      <i aria-hidden="true" />
      <span role="status">Reconnecting</span>
      <span class="since">{` \u00b7 last data ${since} ago`}</span>
    </span>
  );
}

function ThemeButton() {
  const theme = useTheme();
  const other = theme === "dark" ? "light" : "dark";
  return (
    <button
      type="button"
      class="icon-button"
      onClick={toggleTheme}
      aria-label={`Use ${other} colours`}
      title={`Use ${other} colours`}
    >
      {theme === "dark" ? <SunIcon /> : <MoonIcon />}
    </button>
  );
}

export function TopBar() {
  const { phase } = useSession();
  return (
    <header class="top-bar">
      <a class="mark" href="/runs">
        <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
          <rect width="32" height="32" rx="7" class="mark-ground" />
          <path class="mark-line" d="M5 23c4 0 5.5-14 11-14s7 14 11 14" />
          <circle class="mark-dot" cx="16" cy="9" r="3.2" />
        </svg>
        Asgard
      </a>
      <span class="spring" />
      {phase !== "out" && <LiveDot />}
      <SignedIn />
      <ThemeButton />
    </header>
  );
}
