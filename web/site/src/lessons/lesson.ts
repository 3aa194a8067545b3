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
