// The handwritten digits of examples/data: where they are from is written there and on the page.

import address from '../../../examples/data/digits.npy?url';
import { Noise } from './random';

export const PIXELS = 64;
export const CLASSES = 10;

export interface Digits {
  /** Rows of pixels from 0 to 1. */
  images: Float32Array;
  classes: Int32Array;
  count: number;
}

/** The digits to train on, in an order of their own, and those to test with: the last 357. */
export async function digits(): Promise<{ train: Digits; test: Digits }> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`the digits do not load: ${answer.status} ${answer.statusText}`);
  const file = new Uint8Array(await answer.arrayBuffer());
  // NumPy's format 1.0: u8 in C order, which the header says in so many words.
  const header = 10 + file[8]! + 256 * file[9]!;
  const row = PIXELS + 1;
  const count = (file.length - header) / row;
  const of = (indices: number[]): Digits => {
    const images = new Float32Array(indices.length * PIXELS);
    const classes = new Int32Array(indices.length);
    indices.forEach((index, i) => {
      const from = header + index * row;
      for (let k = 0; k < PIXELS; k++) images[i * PIXELS + k] = file[from + k]! / 16;
      classes[i] = file[from + PIXELS]!;
    });
    return { images, classes, count: indices.length };
  };
  const all = Array.from({ length: count }, (_, i) => i);
  const train = all.slice(0, 1440);
  const noise = new Noise(7);
  for (let i = train.length - 1; i > 0; i--) {
    const j = Math.floor(noise.uniform() * (i + 1));
    [train[i], train[j]] = [train[j]!, train[i]!];
  }
  return { train: of(train), test: of(all.slice(1440)) };
}
