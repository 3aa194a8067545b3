// A check beside the page, in a worker, so that the page stays usable.

import { checking, type Told, type Wish } from './checking';
import type { Activations } from './package';
import { words } from './words';

/** Starts a check, and gives what stops it: then nothing more is told. */
export function run(wa: Activations, wish: Wish, tell: (told: Told) => void): () => void {
  const stopping = new AbortController();
  const { signal } = stopping;
  const worker = new Worker(new URL('./check.worker.ts', import.meta.url), { type: 'module' });
  const hear = (told: Told) => {
    if (signal.aborted) return;
    if (told.what !== 'progress') worker.terminate();
    tell(told);
  };
  let heard = false;
  const instead = () => {
    // A browser whose workers have no GPU, or load no modules: then in the page itself.
    worker.terminate();
    checking(wa, wish, hear, signal).catch((error) => hear({ what: 'error', problem: words(error) }));
  };
  worker.addEventListener('message', (event: MessageEvent<Told>) => {
    if (event.data.what === 'error' && !heard) return instead();
    heard = true;
    hear(event.data);
  });
  worker.addEventListener('error', (event) => {
    event.preventDefault();
    if (!heard) instead();
    else hear({ what: 'error', problem: event.message });
  });
  worker.postMessage(wish);
  return () => {
    stopping.abort();
    worker.terminate();
  };
}
