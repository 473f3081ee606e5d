// How numbers and times are written. One place, so that they agree everywhere.

import type { Json } from "./api/types";

const minus = "\u2212";
const thin = "\u2009";
const dot = "\u00b7";
const floats: Record<string, string> = { nan: "NaN", inf: "+Inf", "-inf": `${minus}Inf` };

function signed(text: string): string {
  return text.replace(/-/g, minus);
}

/** Four significant digits; powers of ten below 0.001 and from 100,000 on. */
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined) return dot;
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : `${minus}Inf`;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) return signed(value.toExponential(digits - 1));
  const text = value.toPrecision(digits);
  return signed(text.includes(".") ? text.replace(/\.?0+$/, "") : text);
}

/** Every digit that tells the value from its neighbours. */
export function exactly(value: number | null | undefined): string {
  if (value === null || value === undefined) return "not a finite number";
  return signed(String(value));
}

/** A value that JSON lacks, as documents write it (`{"$float": "nan"}`), null for any other. */
export function exactText(value: Json): string | null {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  const [key, ...others] = Object.keys(value);
  if (key === undefined || others.length > 0) return null;
  const inside = value[key];
  if (key === "$complex" && Array.isArray(inside) && inside.length === 2) {
    const [re, im] = inside.map((part) => exactText(part) ?? String(part)) as [string, string];
    return signed(`${re} ${im.startsWith("-") || im.startsWith(minus) ? "" : "+"}${im}i`);
  }
  if (typeof inside !== "string") return null;
  if (key === "$float") return floats[inside] ?? null;
  if (key === "$int") return signed(inside);
  return ["$datetime", "$date", "$time", "$bytes"].includes(key) ? inside : null;
}

/** JSON in one line for whoever reads it, with the values that JSON lacks as they are called. */
export function oneLine(value: Json): string {
  const exact = exactText(value);
  if (exact !== null) return exact;
  if (Array.isArray(value)) return `[${value.map(oneLine).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([key, one]) => `${JSON.stringify(key)}: ${oneLine(one)}`,
  );
  return `{${members.join(", ")}}`;
}

/** Whole numbers with thin spaces between thousands. */
export function count(value: number): string {
  return signed(
    Math.round(value)
      .toString()
      .replace(/\B(?=(\d{3})+$)/g, thin),
  );
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** Ticks of one axis: the same number of decimals, or the same power of ten. */
export function ticks(values: (number | null)[]): string[] {
  const finite = values.filter((value): value is number => value !== null);
  const largest = Math.max(0, ...finite.map(Math.abs));
  let step = Number.POSITIVE_INFINITY;
  for (let i = 1; i < finite.length; i++) {
    step = Math.min(step, Math.abs((finite[i] ?? 0) - (finite[i - 1] ?? 0)));
  }
  if (!Number.isFinite(step) || step === 0) step = largest || 1;
  const power = largest > 0 ? Math.floor(Math.log10(largest)) : 0;
  const places = (size: number) => {
    let digits = 0;
    let scaled = size;
    // Until the step is a whole number of the last place.
    while (digits < 15 && Math.abs(scaled - Math.round(scaled)) > 1e-3 * scaled) {
      digits++;
      scaled = size * 10 ** digits;
    }
    return digits;
  };
  if (step < largest * 1e-6) {
    // A tiny change of a large value: the lowest tick, and what is added to it.
    const lowest = Math.min(...finite);
    return values.map((value) => {
      if (value === null) return "";
      return value === lowest ? number(value, 7) : `+${number(value - lowest, 2)}`;
    });
  }
  if (largest >= 1e5 && largest < 1e9) {
    const [unit, suffix] = largest >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    const digits = places(step / unit);
    return values.map((value) => {
      if (value === null) return "";
      return value === 0 ? "0" : signed(`${(value / unit).toFixed(digits)}${suffix}`);
    });
  }
  if (largest >= 1e5 || (largest > 0 && largest < 1e-3)) {
    const scale = 10 ** power;
    const digits = places(step / scale);
    return values.map((value) => {
      if (value === null) return "";
      if (value === 0) return "0";
      return signed(`${(value / scale).toFixed(digits)}e${power}`);
    });
  }
  const digits = places(step);
  return values.map((value) => (value === null ? "" : signed(value.toFixed(digits))));
}

/** A tick of a logarithmic axis; only whole powers of ten are written. */
export function logTick(value: number | null): string {
  if (value === null || value <= 0) return "";
  const power = Math.log10(value);
  if (Math.abs(power - Math.round(power)) > 1e-9) return "";
  const whole = Math.round(power);
  return whole >= -2 && whole <= 4 ? String(10 ** whole) : signed(`1e${whole}`);
}

const pad = (n: number) => String(n).padStart(2, "0");

/** How long something took or has been going on, in ms. */
export function duration(ms: number): string {
  if (ms < 0) return "0 s";
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  const hours = Math.floor(whole / 3_600);
  if (hours < 48) return `${hours} h ${pad(Math.floor((whole % 3_600) / 60))} min`;
  return `${count(Math.floor(hours / 24))} d ${hours % 24} h`;
}

const monthNames = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

export function moment(time: Date): string {
  const month = monthNames[time.getMonth()] ?? "";
  const clock = `${pad(time.getHours())}:${pad(time.getMinutes())}`;
  return `${time.getDate()} ${month} ${time.getFullYear()}, ${clock}`;
}

/** "12 s ago", "3 h 05 min ago", and from a day on the date itself. */
export function ago(time: Date, now: number): string {
  const ms = now - time.getTime();
  if (ms >= 86_400_000 || ms < -60_000) return moment(time);
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  if (seconds < 60) return `${seconds} s ago`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ago`;
  return `${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min ago`;
}

/** ISO 8601 with the zone of the reader. */
export function isoLocal(time: Date): string {
  const offset = -time.getTimezoneOffset();
  const sign = offset < 0 ? "-" : "+";
  const zone = `${sign}${pad(Math.floor(Math.abs(offset) / 60))}:${pad(Math.abs(offset) % 60)}`;
  const local = new Date(time.getTime() + offset * 60_000).toISOString().slice(0, -1);
  return `${local}${zone}`;
}
