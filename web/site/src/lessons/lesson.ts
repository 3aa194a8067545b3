// What lessons have in common.

import { h } from '../dom';

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
