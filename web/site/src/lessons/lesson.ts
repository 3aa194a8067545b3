// What lessons have in common.

import { h, slider } from '../dom';

/** A lesson: words and controls beside what they make. */
export function lesson(id: string, title: string, words: Node[], results: Node[]): HTMLElement {
  return h(
    'section',
    { class: 'lesson', id, 'aria-labelledby': `${id}-title` },
    h('h2', { id: `${id}-title`, tabindex: '-1' }, title),
    h('div', { class: 'words' }, ...words),
    h('div', { class: 'results' }, ...results),
  );
}

/** The place of a table of so many rows, which is kept so that nothing moves once it is computed. */
export function placeOf(rows: number): HTMLElement {
  return h('div', { style: `min-height: ${2.25 * (rows + 1) + 2.8}rem` });
}

/** A slider for each logit, in place of which a new value is put before `change` is called. */
export function logitSliders(labels: readonly string[], logits: number[], change: () => void): HTMLElement[] {
  return labels.map(
    (label, i) =>
      slider({
        label,
        min: -5,
        max: 5,
        step: 0.1,
        value: logits[i]!,
        onInput: (value) => {
          logits[i] = value;
          change();
        },
      }).element,
  );
}
