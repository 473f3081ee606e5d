import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { AnimationView, BodyAnimationView, FieldAnimationView } from "../api/types";
import { Frames } from "../figure/frames";
import { type Player, PlayerBar, usePlayer } from "../figure/player";
import { type Reading, Readout } from "../figure/readout";
import { useWidth } from "../figure/use-width";
import { count, number, plural } from "../format";
import { Card } from "../run/card";
import type { Figure } from "../run/figure";
import { useTheme } from "../theme";
import { drawBodies, type Turn } from "./bodies";
import { drawField } from "./field";

function bytesPerFrame(view: AnimationView): number {
  return view.mode === "frames" ? view.rows * view.cols : view.bodies * view.dimensions * 4;
}

/** The frames of a view; a grown result keeps what was read of it. */
function useFrames(view: AnimationView): [Frames | null, number, string | null] {
  const [arrivals, setArrivals] = useState(0);
  const [fault, setFault] = useState<string | null>(null);
  const frames = useRef<Frames | null>(null);
  const size = bytesPerFrame(view);
  const { href, page } = view.frames;
  // The values' range decides what a byte of a field means.
  const meaning = view.mode === "frames" ? String(view.value_range) : "";
  const identity = `${href} ${page} ${size} ${meaning}`;
  const [made, setMade] = useState("");
  useEffect(() => {
    const created = new Frames(
      view.frames,
      size,
      view.n_frames,
      () => {
        setFault(null);
        setArrivals((old) => old + 1);
      },
      (error) => setFault(error instanceof Error ? error.message : String(error)),
    );
    frames.current = created;
    setMade(identity);
    return () => created.close();
  }, [identity]);
  useEffect(() => {
    frames.current?.grow(view.n_frames);
    setArrivals((old) => old + 1);
  }, [view.n_frames]);
  return [made === identity ? frames.current : null, arrivals, fault];
}

function describe(view: AnimationView): string {
  if (view.mode === "frames") return `${count(view.rows)} × ${count(view.cols)} values`;
  const solid = view.dimensions === 3 ? "in space" : "in a plane";
  return `${plural(view.bodies, "body", "bodies")} ${solid}`;
}

function readingsOf(view: FieldAnimationView | BodyAnimationView, names: string[]): Reading[] {
  if (view.mode === "frames") {
    return [
      { label: "min", value: view.value_range?.[0] ?? null },
      { label: "max", value: view.value_range?.[1] ?? null },
    ];
  }
  if (view.bodies > 8 || view.bodies === 1) return [];
  return names.map((label, i) => ({ label, colour: `series-${(i % 8) + 1}`, look: "disc" }));
}

function useDrawing(
  view: AnimationView,
  frames: Frames | null,
  arrivals: number,
  player: Player,
  width: number,
  turn: Turn,
) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const theme = useTheme();
  useEffect(() => {
    if (!canvas.current || !frames || width === 0) return;
    const drawn =
      view.mode === "frames"
        ? drawField(canvas.current, view, frames, player.frame, width)
        : drawBodies(canvas.current, view, frames, player.frame, width, turn);
    if (drawn) canvas.current.dataset["drawn"] = String(player.frame);
  }, [view, frames, arrivals, player.frame, width, theme, turn]);
  return canvas;
}

export function AnimationFigure({ figure }: { figure: Figure<AnimationView> }) {
  const { view, title, live } = figure;
  const host = useRef<HTMLDivElement>(null);
  const width = useWidth(host);
  const player = usePlayer(view.n_frames, view.times, live);
  const [frames, arrivals, fault] = useFrames(view);
  const [turn, setTurn] = useState<Turn>({ around: 0.6, up: 0.45 });
  const canvas = useDrawing(view, frames, arrivals, player, width, turn);
  const solid = view.mode === "positions" && view.dimensions === 3;
  const given = view.mode === "positions" ? view.names : null;
  const bodies = view.mode === "positions" ? view.bodies : 0;
  const names = useMemo(
    () => Array.from({ length: bodies }, (_, i) => given?.[i] ?? `body ${i + 1}`),
    [bodies, given],
  );
  const readings = readingsOf(view, names);
  const time = view.times[player.frame] ?? null;
  const timeLabel = "t";
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === " ") player.toggle();
    else if (event.key === "," || event.key === "ArrowLeft") player.show(player.frame - 1);
    else if (event.key === "." || event.key === "ArrowRight") player.show(player.frame + 1);
    else return;
    event.preventDefault();
  };
  const onPointerMove = (event: PointerEvent) => {
    if (!solid || event.buttons !== 1) return;
    setTurn((old) => ({
      around: old.around + event.movementX * 0.01,
      up: Math.max(-1.5, Math.min(1.5, old.up + event.movementY * 0.01)),
    }));
  };
  return (
    <Card figure={figure} facts={`${plural(view.n_frames, "frame")}, ${describe(view)}`}>
      {readings.length > 0 && <Readout at={null} readings={readings} />}
      <div
        ref={host}
        class={`surface stage${solid ? " turns" : ""}`}
        role="group"
        aria-label={`Animation of ${title}: ${plural(view.n_frames, "frame")}, ${describe(view)}, now at ${timeLabel} ${number(time)}`}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: space plays, comma and full stop step
        tabIndex={0}
        onKeyDown={onKeyDown}
        onPointerMove={onPointerMove}
      >
        <canvas ref={canvas} />
      </div>
      <PlayerBar
        player={player}
        frames={view.n_frames}
        time={time}
        timeLabel={timeLabel}
        live={live}
        title={title}
      />
      {fault && (
        <p class="card-problem" role="alert">
          Frames could not be read: {fault}.{" "}
          <button type="button" class="toggle" onClick={figure.retry}>
            Try again
          </button>
        </p>
      )}
    </Card>
  );
}
