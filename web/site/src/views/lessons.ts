// The lessons, one below the other.

import type { App, View } from '../app';
import { h } from '../dom';
import { depth } from '../lessons/depth';
import { dying } from '../lessons/dying';
import { labels } from '../lessons/labels';
import { temperature } from '../lessons/temperature';
import { two } from '../lessons/two';

const LESSONS = { depth, dying, temperature, two, labels };
type Name = keyof typeof LESSONS;

export function lessons(app: App): View {
  const t = app.strings.lessons;
  const names = Object.keys(LESSONS) as Name[];
  const made = names.map((name) => LESSONS[name](app));
  // Computed once they come into sight, the first to be seen first.
  const sight = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((entry) => entry.isIntersecting)) {
        sight.unobserve(entry.target);
        made.find((lesson) => lesson.element === entry.target)?.shown?.();
      }
    },
    { rootMargin: '200px' },
  );
  const link = (name: Name) => h('li', {}, h('a', { href: `#/lessons/${name}` }, t[name].title));
  const element = h(
    'div',
    {},
    h('h1', {}, t.title),
    h('p', { class: 'lead' }, t.lead),
    h('nav', { class: 'contents', 'aria-label': t.contents }, h('ol', {}, ...names.map(link))),
    ...made.map((lesson) => lesson.element),
  );
  return {
    element,
    shown: () => {
      for (const lesson of made) sight.observe(lesson.element);
    },
    part: (name) => {
      const title = document.getElementById(`${name}-title`);
      title?.focus({ preventScroll: true });
      title?.scrollIntoView();
    },
    dispose: () => {
      sight.disconnect();
      for (const lesson of made) lesson.dispose();
    },
  };
}
