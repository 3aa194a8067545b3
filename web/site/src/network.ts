// A network of two hidden layers in training. Activations, their slopes and the loss are the package's.

import { CLASSES, PIXELS, type Digits } from './digits';
import { mean, multiply, transposed } from './matrix';
import type { Activations } from './package';
import { Noise } from './random';

export const SIZES = [PIXELS, 32, 32, CLASSES];
export const HIDDEN = SIZES.length - 2;
export const BATCH = 120;

interface Layer {
  weights: Float32Array;
  biases: Float32Array;
  inputs: number;
  units: number;
}

/** What a hidden layer's slopes were over a pass over the data. */
export interface Slopes {
  mean: number;
  /** Units whose slope was 0 for every digit. */
  dead: number;
}

/** The slopes of a hidden layer so far. */
interface Seen {
  sum: number;
  count: number;
  alive: boolean[];
}

export class Network {
  private readonly layers: Layer[] = [];
  private seen: Seen[] = [];
  private at = 0;
  steps = 0;

  constructor(
    private readonly wa: Activations,
    private readonly name: string,
    private readonly digits: Digits,
  ) {
    const noise = new Noise(3);
    for (let i = 0; i + 1 < SIZES.length; i++) {
      const [inputs, units] = [SIZES[i]!, SIZES[i + 1]!];
      // He et al. 2015.
      const weights = noise.normals(inputs * units, Math.sqrt(2 / inputs));
      this.layers.push({ weights, biases: new Float32Array(units), inputs, units });
    }
    this.begin();
  }

  /** How often the data were passed over. */
  get epochs(): number {
    return (this.steps * BATCH) / this.digits.count;
  }

  private begin() {
    this.seen = Array.from({ length: HIDDEN }, (_, i) => ({
      sum: 0,
      count: 0,
      alive: new Array<boolean>(SIZES[i + 1]!).fill(false),
    }));
  }

  private sums(x: Float32Array, layer: Layer, rows: number): Float32Array {
    const z = multiply(x, layer.weights, rows, layer.inputs, layer.units);
    for (let i = 0; i < z.length; i++) z[i]! += layer.biases[i % layer.units]!;
    return z;
  }

  /** A step of gradient descent on the next batch; its loss. */
  async step(rate: number): Promise<number> {
    const { wa, name, layers } = this;
    const from = this.at;
    this.at = (from + BATCH) % this.digits.count;
    const x0 = this.digits.images.subarray(from * PIXELS, (from + BATCH) * PIXELS);
    const targets = { data: this.digits.classes.slice(from, from + BATCH), shape: [BATCH] };

    const inputs = [x0];
    const slopes: Float32Array[] = [];
    for (const [i, layer] of layers.slice(0, HIDDEN).entries()) {
      const z = this.sums(inputs[i]!, layer, BATCH);
      const [y, slope] = await wa.applyWithGrad(name, z);
      inputs.push(y);
      slopes.push(slope);
      this.see(i, slope, layer.units);
    }
    const logits = { data: this.sums(inputs[HIDDEN]!, layers[HIDDEN]!, BATCH), shape: [BATCH, CLASSES] };
    const [loss, gradient] = await wa.applyWithGrad('cross_entropy', [logits, targets]);

    let dz: Float32Array = gradient;
    for (let i = HIDDEN; i >= 0; i--) {
      const layer = layers[i]!;
      const x = inputs[i]!;
      const dw = multiply(transposed(x, BATCH, layer.inputs), dz, layer.inputs, BATCH, layer.units);
      const dx = i > 0 ? multiply(dz, transposed(layer.weights, layer.inputs, layer.units), BATCH, layer.units, layer.inputs) : undefined;
      for (let j = 0; j < dw.length; j++) layer.weights[j]! -= rate * dw[j]!;
      for (let j = 0; j < dz.length; j++) layer.biases[j % layer.units]! -= rate * dz[j]!;
      if (dx) dz = dx.map((v, j) => v * slopes[i - 1]![j]!);
    }
    this.steps += 1;
    return loss[0]!;
  }

  private see(i: number, slope: Float32Array, units: number) {
    const seen = this.seen[i]!;
    for (let j = 0; j < slope.length; j++) {
      seen.sum += Math.abs(slope[j]!);
      if (slope[j] !== 0) seen.alive[j % units] = true;
    }
    seen.count += slope.length;
  }

  /** What the slopes were since the last call, which is after each pass over the data. */
  slopes(): Slopes[] {
    const found = this.seen.map((seen) => ({
      mean: seen.sum / seen.count,
      dead: seen.alive.filter((alive) => !alive).length,
    }));
    this.begin();
    return found;
  }

  /** What it reads in pictures. */
  async read(digits: Digits): Promise<number[]> {
    let x = digits.images;
    for (const layer of this.layers.slice(0, HIDDEN)) x = await this.wa.apply(this.name, this.sums(x, layer, digits.count));
    const logits = this.sums(x, this.layers[HIDDEN]!, digits.count);
    return Array.from({ length: digits.count }, (_, i) => {
      const row = logits.subarray(i * CLASSES, (i + 1) * CLASSES);
      return row.indexOf(Math.max(...row));
    });
  }
}

/** The share of digits that are read right. */
export function accuracy(read: number[], digits: Digits): number {
  return mean(read, (digit, i) => Number(digit === digits.classes[i]));
}
