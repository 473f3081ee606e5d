// The clock of an animation: play, pause, scrub, speed, and the live end.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Value } from "../api/types";
import { count, number } from "../format";
import { BackIcon, ForwardIcon, PauseIcon, PlayIcon } from "../frame/icons";

const speeds = [0.25, 0.5, 1, 2, 4];
const framesPerSecond = 30;
const shortest = 3_000;
const longest = 20_000;

export interface Player {
  frame: number;
  playing: boolean;
  speed: number;
  following: boolean;
  show: (frame: number) => void;
  toggle: () => void;
  setSpeed: (speed: number) => void;
  follow: () => void;
}

/** How long the whole takes at speed 1, in ms. */
function lengthOf(frames: number): number {
  return Math.min(longest, Math.max(shortest, (frames / framesPerSecond) * 1_000));
}

/** When a frame is due, as a share of the whole: in the time of the simulation. */
function dueTimes(times: Value[], frames: number): number[] {
  const first = times[0] ?? null;
  const last = times[frames - 1] ?? null;
  const even = (i: number) => (frames > 1 ? i / (frames - 1) : 0);
  const span = first === null || last === null ? 0 : last - first;
  if (!(span > 0)) return Array.from({ length: frames }, (_, i) => even(i));
  return Array.from({ length: frames }, (_, i) => {
    const time = times[i] ?? null;
    return time === null || first === null ? even(i) : (time - first) / span;
  });
}

export function usePlayer(frames: number, times: Value[], live: boolean): Player {
  const [frame, setFrame] = useState(live ? Math.max(0, frames - 1) : 0);
  const [playing, setPlaying] = useState(false);
  const [speed, setSpeed] = useState(1);
  const [following, setFollowing] = useState(live);
  const share = useRef(0);
  const last = Math.max(0, frames - 1);

  useEffect(() => {
    if (following) setFrame(last);
  }, [following, last]);

  useEffect(() => {
    if (!playing) return;
    const due = dueTimes(times, frames);
    let before = performance.now();
    let ticket = 0;
    const tick = (now: number) => {
      share.current += ((now - before) * speed) / lengthOf(frames);
      before = now;
      if (share.current > 1 + 0.6 / frames) share.current = 0;
      let at = 0;
      while (at < frames - 1 && (due[at + 1] ?? 1) <= share.current) at++;
      setFrame(at);
      ticket = requestAnimationFrame(tick);
    };
    ticket = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(ticket);
  }, [playing, speed, frames, times]);

  const show = (to: number) => {
    const index = Math.max(0, Math.min(last, to));
    setFollowing(false);
    share.current = dueTimes(times, frames)[index] ?? 0;
    setFrame(index);
  };
  return {
    frame: Math.min(frame, last),
    playing,
    speed,
    following,
    show,
    toggle: () => {
      if (!playing) show(frame >= last ? 0 : frame);
      setPlaying(!playing);
    },
    setSpeed,
    follow: () => {
      setPlaying(false);
      setFollowing(true);
    },
  };
}

interface Props {
  player: Player;
  frames: number;
  time: Value;
  timeLabel: string;
  live: boolean;
  title: string;
}

export function PlayerBar({ player, frames, time, timeLabel, live, title }: Props) {
  const { frame, playing, speed } = player;
  const last = Math.max(0, frames - 1);
  return (
    <div class="player" role="group" aria-label={`Player of ${title}`}>
      <button
        type="button"
        class="icon-button"
        aria-label="One frame back"
        title="One frame back (,)"
        onClick={() => player.show(frame - 1)}
      >
        <BackIcon />
      </button>
      <button
        type="button"
        class="icon-button play"
        aria-label={playing ? "Pause" : "Play"}
        title={playing ? "Pause (space)" : "Play (space)"}
        onClick={player.toggle}
      >
        {playing ? <PauseIcon /> : <PlayIcon />}
      </button>
      <button
        type="button"
        class="icon-button"
        aria-label="One frame on"
        title="One frame on (.)"
        onClick={() => player.show(frame + 1)}
      >
        <ForwardIcon />
      </button>
      <input
        type="range"
        min={0}
        max={last}
        value={frame}
        aria-label="Frame"
        aria-valuetext={`${timeLabel} ${number(time)}, frame ${frame + 1} of ${frames}`}
        onInput={(event) => player.show(Number(event.currentTarget.value))}
      />
      <output class="player-time">
        {timeLabel} = {number(time)}
      </output>
      <span class="player-count">
        {count(frame + 1)} / {count(frames)}
      </span>
      <label class="player-speed">
        <span class="unseen">Speed</span>
        <select
          value={String(speed)}
          onChange={(event) => player.setSpeed(Number(event.currentTarget.value))}
        >
          {speeds.map((value) => (
            <option key={value} value={String(value)}>
              {value}×
            </option>
          ))}
        </select>
      </label>
      {live && (
        <button
          type="button"
          class="toggle"
          aria-pressed={player.following}
          onClick={player.follow}
        >
          Follow live
        </button>
      )}
    </div>
  );
}
