// Classes that exclude each other beside labels that do not.

import type { App, View } from '../app';
import { bar, h, latest, problem, shown, table } from '../dom';
import { lesson, logitSliders, placeOf } from './lesson';

const state = { logits: [2, 0.5, 1, -1], kind: 0, holds: [true, false, true, false] };

export function labels(app: App): View {
  const t = app.strings.lessons.labels;
  const wrong = problem();
  const [left, right] = [placeOf(5), placeOf(5)];
  const n = state.logits.length;

  const draw = latest(async (live) => {
    const x = { data: Float32Array.from(state.logits), shape: [1, n] };
    const kind = { data: Int32Array.of(state.kind), shape: [1] };
    const holds = { data: Float32Array.from(state.holds, Number), shape: [1, n] };
    const bce = 'binary_cross_entropy_with_logits';
    const [p, [loss, gradient], q, [sum, each]] = await Promise.all([
      app.wa.apply('softmax', x, { axis: -1 }),
      app.wa.applyWithGrad('cross_entropy', [x, kind]),
      app.wa.apply('sigmoid', x),
      app.wa.applyWithGrad(bce, [x, holds], { reduction: 'sum' }),
    ]);
    if (!live()) return;
    wrong.clear();
    const show = (of: HTMLElement, title: string, test: string, p: Float32Array, g: Float32Array, loss: number, holds: (i: number) => boolean) => {
      const caption = `${title}: ${t.loss(shown(loss, 4))}`;
      const rows: (Node | string)[][] = Array.from(p, (p, i) => [`${t.names[i]}${holds(i) ? ' ✓' : ''}`, bar(p, test === 'exclusive' ? 0 : 1), p.toFixed(4), g[i]!.toFixed(4)]);
      rows.push([t.sum, '', p.reduce((a, b) => a + b, 0).toFixed(4), '']);
      of.replaceChildren(table({ caption, head: [t.label, t.bar, t.probability, t.gradient], rows, test }));
    };
    show(left, t.exclusive, 'exclusive', p, gradient, loss[0]!, (i) => i === state.kind);
    show(right, t.independent, 'independent', q, each, sum[0]!, (i) => state.holds[i]!);
  }, wrong.tell);

  const logits = logitSliders(t.names, state.logits, draw.start);
  const choice = (type: 'radio' | 'checkbox', checked: (i: number) => boolean, change: (i: number, on: boolean) => void, title: string) =>
    h(
      'fieldset',
      {},
      h('legend', {}, `${t.target} (${title})`),
      ...t.names.map((name, i) => {
        const box = h('input', {
          type,
          name: 'kind',
          checked: checked(i),
          change: () => {
            change(i, box.checked);
            draw.start();
          },
        });
        return h('label', {}, box, name);
      }),
    );
  const exclusive = choice('radio', (i) => i === state.kind, (i) => (state.kind = i), t.exclusive);
  const independent = choice('checkbox', (i) => state.holds[i]!, (i, on) => (state.holds[i] = on), t.independent);
  const words = [
    h('p', {}, t.text),
    h('p', {}, t.more),
    h('div', { class: 'controls', role: 'group', 'aria-label': t.logits }, ...logits),
  ];
  const element = lesson('labels', t.title, words, [wrong.element, h('div', {}, exclusive, left), h('div', {}, independent, right)]);
  return { element, shown: draw.start, dispose: draw.end };
}
