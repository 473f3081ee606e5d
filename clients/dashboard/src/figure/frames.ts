// Frames of an animation, read a page at a time; a few pages are kept.

import { getBinary } from "../api/client";
import type { FramePages } from "../api/types";

const pagesKept = 24;
const littleToRead = 1_000_000;

export class Frames {
  private readonly pages = new Map<number, ArrayBuffer>();
  private readonly flights = new Map<number, Promise<void>>();
  private readonly abort = new AbortController();

  constructor(
    private readonly source: FramePages,
    private readonly bytesPerFrame: number,
    private total: number,
    private readonly onArrival: () => void,
    private readonly onFault: (fault: unknown) => void,
  ) {}

  /** The result grew: pages that were not full are read again. */
  grow(total: number): void {
    if (total === this.total) return;
    const size = this.source.page;
    for (const [page, body] of this.pages) {
      const should = Math.min(size, total - page * size);
      if (body.byteLength / this.bytesPerFrame !== should) this.pages.delete(page);
    }
    this.total = total;
  }

  /** The bytes of a frame if they are here; asks for them and the next page if not. */
  at(frame: number): ArrayBuffer | null {
    const page = Math.floor(frame / this.source.page);
    this.want(page);
    if ((frame % this.source.page) * 2 >= this.source.page) this.want(page + 1);
    const body = this.pages.get(page);
    if (!body) return null;
    const start = (frame - page * this.source.page) * this.bytesPerFrame;
    if (start + this.bytesPerFrame > body.byteLength) return null;
    return body.slice(start, start + this.bytesPerFrame);
  }

  /** At most about n frames spread over the whole, where that is little to read. */
  thinned(n: number): ArrayBuffer[] {
    if (this.total * this.bytesPerFrame > littleToRead) return [];
    const stride = Math.max(1, Math.ceil(this.total / n));
    const found: ArrayBuffer[] = [];
    for (let frame = 0; frame < this.total; frame += stride) {
      const body = this.at(frame);
      if (body) found.push(body);
    }
    return found;
  }

  close(): void {
    this.abort.abort();
  }

  private want(page: number): void {
    const start = page * this.source.page;
    if (start >= this.total || this.pages.has(page) || this.flights.has(page)) return;
    const count = Math.min(this.source.page, this.total - start);
    const href = this.source.href
      .replace("{start}", String(start))
      .replace("{count}", String(count));
    const flight = getBinary(href, this.abort.signal)
      .then((body) => {
        this.pages.set(page, body);
        for (const old of this.pages.keys()) {
          if (this.pages.size <= pagesKept) break;
          if (old !== page) this.pages.delete(old);
        }
        this.onArrival();
      })
      .catch((error: unknown) => {
        if (!this.abort.signal.aborted) this.onFault(error);
      })
      .finally(() => this.flights.delete(page));
    this.flights.set(page, flight);
  }
}
