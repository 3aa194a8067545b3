// A gradient on its way back through a random network.

import { named, type App, type View } from '../app';
import { chart, type Line } from '../chart';
import { breath, h, latest, problem, select, shown, slider, swatch, table } from '../dom';
import { lesson, placeOf } from './lesson';
import { mean, multiply, transposed } from '../matrix';
import { hasSlope, isCurve, type FunctionInfo } from '../package';
import { Noise } from '../random';

const WIDTH = 64;
const SAMPLES = 16;

const state = { name: 'tanh', layers: 20, gain: 2 };

export interface Sizes {
  /** Root mean square of the gradient behind 0, 1, .. layers, relative to the last layer's. */
  gradient: number[];
  /** Mean over all paths of the product of slopes' magnitudes. */
  product: number[];
  steepest: number;
}

/** What is left of a gradient, layer by layer. */
export async function sizes(app: App, info: FunctionInfo, layers: number, gain: number): Promise<Sizes> {
  const noise = new Noise(1);
  let x = noise.normals(SAMPLES * WIDTH);
  const weights: Float32Array[] = [];
  const inputs: Float32Array[] = [];
  for (let layer = 0; layer < layers; layer++) {
    await breath();
    const w = noise.normals(WIDTH * WIDTH, Math.sqrt(gain / WIDTH));
    const z = multiply(x, w, SAMPLES, WIDTH, WIDTH);
    x = await app.wa.apply(info.name, z);
    weights.push(w);
    inputs.push(z);
  }
  // The slopes of all layers in one call.
  const all = new Float32Array(layers * SAMPLES * WIDTH);
  inputs.forEach((z, layer) => all.set(z, layer * z.length));
  const slopes = await app.wa.grad(info.name, all, new Float32Array(all.length).fill(1));

  let g = noise.normals(SAMPLES * WIDTH);
  const size = (g: Float32Array) => Math.sqrt(mean(g, (v) => v * v));
  const upstream = size(g);
  // Over all paths through the units the mean of a product is the product of the layers' means.
  const path = new Float64Array(SAMPLES).fill(1);
  const found: Sizes = { gradient: [1], product: [1], steepest: slopes.reduce((a, b) => Math.max(a, Math.abs(b)), 0) };
  let scale = 1;
  for (let layer = layers - 1; layer >= 0; layer--) {
    const from = layer * g.length;
    const dz = g.map((v, i) => v * slopes[from + i]!);
    for (let i = 0; i < SAMPLES; i++) path[i]! *= mean(slopes.subarray(from + i * WIDTH, from + (i + 1) * WIDTH), Math.abs);
    g = multiply(dz, transposed(weights[layer]!, WIDTH, WIDTH), SAMPLES, WIDTH, WIDTH);
    // Kept near 1, so that f32 does not run out.
    const now = size(g);
    if (now > 0 && Number.isFinite(now)) {
      g = g.map((v) => v / now);
      scale *= now / (layer === layers - 1 ? upstream : 1);
    } else scale = now;
    found.gradient.push(scale);
    found.product.push(mean(path));
  }
  return found;
}

export function depth(app: App): View {
  const t = app.strings.lessons.depth;
  const wrong = problem();
  const plot = chart({ title: t.chart, xLabel: t.x, log: true, height: 280, legend: true });
  const result = placeOf(3);
  const names = app.functions.filter((info) => isCurve(info) && hasSlope(info)).map((info) => info.name);

  const draw = latest(async (live) => {
    const { layers, gain } = state;
    // The one that is chosen between the two that the lesson speaks of.
    const compared = [...new Set([state.name, 'sigmoid', 'relu'])];
    const lines: Line[] = [];
    const values: number[][] = [];
    const rows: (Node | string)[][] = [];
    for (const [slot, name] of compared.entries()) {
      const found = await sizes(app, named(app, name), layers, gain);
      if (!live()) return;
      lines.push({ label: t.whole(name), slot }, { label: t.slopes(name), slot, dashed: true });
      values.push(found.gradient, found.product);
      rows.push([
        h('span', { class: 'named' }, swatch(slot), h('code', {}, name)),
        shown(found.steepest, 3),
        shown(found.gradient[layers]!, 3),
        shown(found.product[layers]!, 3),
      ]);
    }
    wrong.clear();
    plot.draw(Array.from({ length: layers + 1 }, (_, i) => i), lines, values);
    plot.describe(`${t.chart}: ${compared.join(', ')}`);
    const caption = t.result(layers);
    const head = [app.strings.lessons.function, t.steepest, t.gradient, t.product];
    result.replaceChildren(table({ caption, head, rows, test: 'depth' }));
    result.dataset.ready = `${state.name} ${layers}`;
  }, wrong.tell);

  const weights = [
    { value: '1', text: t.glorot },
    { value: '2', text: t.he },
  ];
  const element = lesson('depth', t.title, [
    h('p', {}, t.text),
    h(
      'div',
      { class: 'controls' },
      select({
        label: app.strings.lessons.function,
        values: names.map((name) => ({ value: name, text: name })),
        value: state.name,
        onChange: (name) => {
          state.name = name;
          draw.start();
        },
      }),
      select({
        label: t.weights,
        values: weights,
        value: String(state.gain),
        onChange: (gain) => {
          state.gain = Number(gain);
          draw.start();
        },
      }),
      slider({
        label: t.layers,
        min: 2,
        max: 40,
        step: 1,
        value: state.layers,
        onInput: (layers) => {
          state.layers = layers;
          draw.start();
        },
      }).element,
    ),
    h('p', {}, t.note),
  ], [wrong.element, plot.element, h('p', { class: 'quiet' }, t.key), result]);
  return { element, shown: draw.start, dispose: () => (draw.end(), plot.dispose()) };
}
