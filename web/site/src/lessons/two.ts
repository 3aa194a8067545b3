// Softmax of two logits beside the logistic function of their difference.

import type { App, View } from '../app';
import { chart } from '../chart';
import { h, latest, problem, shown, swatch, table } from '../dom';
import { lesson, logitSliders, placeOf } from './lesson';

const state = { z: [1.3, -0.4] };

export function two(app: App): View {
  const t = app.strings.lessons.two;
  const wrong = problem();
  const plot = chart({ title: t.chart, xLabel: t.x, height: 240, range: () => [-0.05, 1.05], onCursor: () => {} });
  const result = placeOf(3);
  const x = Float32Array.from({ length: 241 }, (_, i) => (i - 120) / 12);
  const ways = ['sigmoid(z₁ − z₂)', 'softmax(z₁, z₂)'];

  /** The first probability of softmax for the differences. */
  const first = async (pairs: Float32Array) => {
    const p = await app.wa.apply('softmax', pairs, { shape: [pairs.length / 2, 2], axis: -1 });
    return Float32Array.from({ length: p.length / 2 }, (_, i) => p[2 * i]!);
  };
  const draw = latest(async (live) => {
    const [z1, z2] = state.z.map(Math.fround) as [number, number];
    const pairs = new Float32Array(2 * x.length);
    x.forEach((d, i) => (pairs[2 * i] = d));
    const [logistic, soft, one, both] = await Promise.all([
      app.wa.apply('sigmoid', x),
      first(pairs),
      app.wa.apply('sigmoid', Float32Array.of(z1 - z2)),
      first(Float32Array.of(z1, z2)),
    ]);
    if (!live()) return;
    wrong.clear();
    const dots = soft.map((p, i) => (i % 12 === 0 ? p : NaN));
    plot.draw(x, [{ label: ways[0]!, slot: 0 }, { label: ways[1]!, slot: 1, dots: true }], [logistic, dots]);
    plot.point(z1 - z2);
    plot.describe(`${t.chart}: ${ways.join(', ')}`);
    const way = (i: number) => h('span', { class: 'named' }, swatch(i), h('code', {}, ways[i]!));
    const rows = [
      [way(0), one[0]!.toFixed(7)],
      [way(1), both[0]!.toFixed(7)],
      [t.difference, shown(Math.abs(one[0]! - both[0]!), 2)],
    ];
    result.replaceChildren(table({ caption: t.caption, head: [t.way, t.chart], rows, test: 'two' }));
  }, wrong.tell);
  const sliders = logitSliders([t.first, t.second], state.z, draw.start);
  const words = [h('p', {}, t.text), h('div', { class: 'controls' }, ...sliders)];
  const element = lesson('two', t.title, words, [wrong.element, plot.element, result]);
  return { element, shown: draw.start, dispose: () => (draw.end(), plot.dispose()) };
}
