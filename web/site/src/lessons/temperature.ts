// Softmax of some logits over a temperature.

import type { App, View } from '../app';
import { bar, h, latest, problem, shown, slider, table } from '../dom';
import { lesson, logitSliders, placeOf } from './lesson';

const state = { logits: [3, 2, 1, 0, -1], power: 0 };

export function temperature(app: App): View {
  const t = app.strings.lessons.temperature;
  const wrong = problem();
  const result = placeOf(6);
  const draw = latest(async (live) => {
    const x = Float32Array.from(state.logits);
    const of = 10 ** state.power;
    const p = await app.wa.apply('softmax', x, { shape: [x.length], axis: -1, temperature: of });
    if (!live()) return;
    wrong.clear();
    const rows: (Node | string)[][] = Array.from(p, (p, i) => [t.logit(i + 1), shown(x[i]!, 3), bar(p), p.toFixed(4)]);
    rows.push([t.sum, '', '', p.reduce((a, b) => a + b, 0).toFixed(4)]);
    const caption = `${t.caption}, T = ${shown(of, 3)}`;
    result.replaceChildren(table({ caption, head: [t.element, t.value, t.bar, t.probability], rows, test: 'temperature' }));
  }, wrong.tell);
  const logits = logitSliders(state.logits.map((_, i) => t.logit(i + 1)), state.logits, draw.start);
  const heat = slider({
    label: t.temperature,
    min: -1,
    max: 1,
    step: 0.02,
    value: state.power,
    show: (power) => shown(10 ** power, 3),
    onInput: (power) => {
      state.power = power;
      draw.start();
    },
  });
  const words = [h('p', {}, t.text), h('div', { class: 'controls' }, heat.element, ...logits)];
  const element = lesson('temperature', t.title, words, [wrong.element, result]);
  return { element, shown: draw.start, dispose: draw.end };
}
