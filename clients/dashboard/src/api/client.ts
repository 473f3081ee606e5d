// Every request the page makes goes through here.

import { sessions } from "./session";
import type { ResultPage, Run, RunPage, View, ViewOptions } from "./types";

/** A request that did not succeed, in words a reader can act on. */
export class Problem extends Error {
  readonly status: number;
  readonly requestId: string | null;

  constructor(status: number, message: string, requestId: string | null = null) {
    super(message);
    this.name = "Problem";
    this.status = status;
    this.requestId = requestId;
  }

  get isMissing(): boolean {
    return this.status === 404;
  }
}

type Parameters = Record<string, string | number | number[] | undefined>;

function address(path: string, parameters: Parameters = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(key, String(one));
  }
  const text = search.toString();
  return text ? `${path}?${text}` : path;
}

async function problemOf(response: Response): Promise<Problem> {
  const requestId = response.headers.get("x-request-id");
  let detail = "";
  try {
    const body = (await response.json()) as { detail?: unknown; title?: unknown };
    detail = String(body.detail ?? body.title ?? "");
  } catch {
    // The body was no JSON: the status alone has to do.
  }
  return new Problem(
    response.status,
    detail || `the server answered ${response.status}`,
    requestId,
  );
}

async function request(url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { cache: "no-cache", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, "the server cannot be reached");
  }
  if (response.status === 401) sessions.lost();
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function json<T>(url: string, signal?: AbortSignal): Promise<T> {
  const response = await request(url, signal ? { signal } : {});
  return (await response.json()) as T;
}

const id = encodeURIComponent;

export function listRuns(
  query: string,
  pageToken: string,
  pageSize: number,
  signal?: AbortSignal,
): Promise<RunPage> {
  const parameters = { page_size: pageSize, page_token: pageToken, query };
  return json<RunPage>(address("/v1/runs", parameters), signal);
}

export function getRun(runId: string, signal?: AbortSignal): Promise<Run> {
  return json<Run>(`/v1/runs/${id(runId)}`, signal);
}

export async function deleteRun(runId: string): Promise<void> {
  await request(`/v1/runs/${id(runId)}`, { method: "DELETE" });
}

export function listResults(
  runId: string,
  pageToken: string,
  pageSize: number,
  signal?: AbortSignal,
): Promise<ResultPage> {
  const parameters = { page_size: pageSize, page_token: pageToken };
  return json<ResultPage>(address(`/v1/runs/${id(runId)}/results`, parameters), signal);
}

export function getView(
  resultId: string,
  options: ViewOptions,
  signal?: AbortSignal,
): Promise<View> {
  return json<View>(address(`/v1/results/${id(resultId)}/view`, { ...options }), signal);
}

/** The numbers a view points to: cells of a heatmap, frames of an animation. */
export async function getBinary(href: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  const response = await request(href, signal ? { signal } : {});
  return response.arrayBuffer();
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(-1, String(error));
}
