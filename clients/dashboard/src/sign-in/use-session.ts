import { useEffect, useState } from "preact/hooks";
import { type Session, sessions } from "../api/session";

export function useSession(): Session {
  const [session, setSession] = useState(sessions.session);
  useEffect(() => {
    const watcher = () => setSession(sessions.session);
    watcher();
    return sessions.watch(watcher);
  }, []);
  return session;
}
