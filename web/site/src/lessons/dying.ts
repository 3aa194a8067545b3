// One unit at a large learning rate.

import type { App, View } from '../app';
import { chart } from '../chart';
import { breath, h, latest, problem, shown, slider, swatch, table } from '../dom';
import { lesson, placeOf } from './lesson';
import { mean } from '../matrix';

const POINTS = 64;
const STEPS = 200;
/** Where every unit starts: everything is on. */
const START = { w: 2, b: 2 };

const state = { rate: 1.3 };

/** A unit in training: its result for inputs, and a step against the gradient. */
interface Unit {
  /** The results, and what makes a step of the error; `slope` is the mean magnitude of df/dz. */
  step(x: Float32Array, rate: number): Promise<{ error: number; slope: number }>;
}

/** f(w x + b) of a function of the registry without other weights. */
function plain(app: App, name: string): Unit {
  let { w, b } = START;
  return {
    async step(x, rate) {
      const z = x.map((x) => w * x + b);
      const [y, slope] = await app.wa.applyWithGrad(name, z);
      const off = y.map((y, i) => y - x[i]!);
      const dz = off.map((e, i) => e * slope[i]!);
      w -= rate * mean(dz, (d, i) => d * x[i]!);
      b -= rate * mean(dz);
      return { error: mean(off, (e) => e * e), slope: mean(slope, Math.abs) };
    },
  };
}

/** prelu, whose slope is learned too. */
function prelu(app: App): Unit {
  let { w, b } = START;
  let a = 0.25;
  return {
    async step(x, rate) {
      const z = { data: x.map((x) => w * x + b), shape: [POINTS] };
      const slopes = { data: Float32Array.of(a), shape: [1] };
      const [y, slope] = await app.wa.applyWithGrad('prelu', [z, slopes]);
      const off = y.map((y, i) => y - x[i]!);
      const gradients = await app.wa.grads('prelu', [z, slopes], off);
      const dz = gradients[0]!;
      w -= rate * mean(dz, (d, i) => d * x[i]!);
      b -= rate * mean(dz);
      a -= (rate * gradients[1]![0]!) / POINTS;
      return { error: mean(off, (e) => e * e), slope: mean(slope, Math.abs) };
    },
  };
}

/** The larger of two lines; the second starts as 0. */
function maxout(app: App): Unit {
  const w = [START.w, 0];
  const b = [START.b, 0];
  const options = { shape: [POINTS, 2], axis: -1, pieces: 2 };
  return {
    async step(x, rate) {
      const z = new Float32Array(2 * POINTS);
      x.forEach((x, i) => z.set([w[0]! * x + b[0]!, w[1]! * x + b[1]!], 2 * i));
      const [y, slope] = await app.wa.applyWithGrad('maxout', z, options);
      const off = y.map((y, i) => y - x[i]!);
      for (const piece of [0, 1]) {
        const dz = off.map((e, i) => e * slope[2 * i + piece]!);
        w[piece]! -= rate * mean(dz, (d, i) => d * x[i]!);
        b[piece]! -= rate * mean(dz);
      }
      // Of each point, that of the line which is taken.
      return { error: mean(off, (e) => e * e), slope: 2 * mean(slope, Math.abs) };
    },
  };
}

export function dying(app: App): View {
  const t = app.strings.lessons.dying;
  const wrong = problem();
  const plot = chart({ title: t.chart, xLabel: t.x, log: true, height: 280, legend: true });
  const result = placeOf(5);
  const x = Float32Array.from({ length: POINTS }, (_, i) => i / (POINTS - 1));
  const units: [string, () => Unit][] = [
    ['relu', () => plain(app, 'relu')],
    ['leaky_relu', () => plain(app, 'leaky_relu')],
    ['elu', () => plain(app, 'elu')],
    ['prelu', () => prelu(app)],
    ['maxout', () => maxout(app)],
  ];
  let wanted = 0;

  const run = latest(async (live) => {
    const mine = ++wanted;
    const { rate } = state;
    const made = units.map(([, make]) => make());
    const errors: number[][] = units.map(() => []);
    const lines = units.map(([name], slot) => ({ label: name, slot }));
    let last: { error: number; slope: number }[] = [];
    const steps = Array.from({ length: STEPS + 1 }, (_, i) => i);
    // Smaller errors are rounding, and would take the scale.
    const draw = () => plot.draw(steps, lines, errors.map((line) => steps.map((i) => Math.max(line[i] ?? NaN, 1e-12))));
    result.dataset.ready = '';
    for (let step = 0; step <= STEPS; step++) {
      await breath();
      last = await Promise.all(made.map((unit) => unit.step(x, rate)));
      // The slider was moved, or the page left.
      if (!live() || mine !== wanted || rate !== state.rate) return;
      last.forEach(({ error }, i) => errors[i]!.push(error));
      if (step % 10 === 0) draw();
    }
    wrong.clear();
    draw();
    const verdict = ({ error, slope }: { error: number; slope: number }) =>
      !Number.isFinite(error) ? t.off : slope === 0 ? t.dead : error < 1e-3 ? t.learned : t.learning;
    const rows = units.map(([name], i) => [
      h('span', { class: 'named' }, swatch(i), h('code', {}, name)),
      shown(last[i]!.error, 3),
      shown(last[i]!.slope, 3),
      verdict(last[i]!),
    ]);
    const head = [app.strings.lessons.function, t.error, t.slope, t.state];
    result.replaceChildren(table({ caption: t.result(STEPS), head, rows, test: 'dying' }));
    result.dataset.ready = String(rate);
  }, wrong.tell);

  const element = lesson('dying', t.title, [
    h('p', {}, t.text),
    h('p', {}, t.more),
    h(
      'div',
      { class: 'controls' },
      slider({
        label: t.rate,
        min: 0.1,
        max: 1.4,
        step: 0.1,
        value: state.rate,
        onInput: (rate) => {
          state.rate = rate;
          run.start();
        },
      }).element,
    ),
  ], [wrong.element, plot.element, result]);
  return { element, shown: run.start, dispose: () => (run.end(), plot.dispose()) };
}
