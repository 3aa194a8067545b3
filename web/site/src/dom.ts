// Elements in few words, and the controls that the views share.

import { words } from './words';

type Child = Node | string | number | false | null | undefined;
type Properties = Record<string, string | number | boolean | EventListener | undefined>;

/** An element. Functions are listeners, `true` is an attribute without a value. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child || child === 0).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

let count = 0;
const fresh = () => `c${++count}`;

/** A number as people read it: six digits at most. */
export function shown(value: number, digits = 6): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '-∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(Math.min(digits - 1, 3));
  return String(Number(value.toPrecision(digits)));
}

/** The value of a colour of the style sheet. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** As many functions as there are colours to tell them apart. */
export const COLOURS = 6;
export const colourOf = (slot: number) => `--c${(slot % COLOURS) + 1}`;

export function swatch(slot: number): HTMLElement {
  return h('span', { class: 'swatch', style: `background: var(${colourOf(slot)})`, 'aria-hidden': 'true' });
}

export interface Slider {
  element: HTMLElement;
  input: HTMLInputElement;
  set(value: number): void;
}

/** A slider with its name and its value. */
export function slider(of: {
  label: string;
  min: number;
  max: number;
  step: number;
  value: number;
  show?: (value: number) => string;
  onInput: (value: number) => void;
}): Slider {
  const show = of.show ?? ((value: number) => shown(value, 4));
  const id = fresh();
  const output = h('output', { for: id }, show(of.value));
  const input = h('input', {
    type: 'range',
    id,
    min: of.min,
    max: of.max,
    step: of.step,
    value: of.value,
    'aria-valuetext': show(of.value),
  });
  const tell = () => {
    output.textContent = show(input.valueAsNumber);
    input.setAttribute('aria-valuetext', output.textContent);
  };
  input.addEventListener('input', () => {
    tell();
    of.onInput(input.valueAsNumber);
  });
  const element = h('div', { class: 'slider' }, h('label', { for: id }, of.label), output, input);
  const set = (value: number) => {
    input.value = String(value);
    tell();
  };
  return { element, input, set };
}

/** A list to choose from. */
export function select(of: {
  label: string;
  values: { value: string; text: string }[];
  value: string;
  onChange: (value: string) => void;
}): HTMLElement {
  const id = fresh();
  const list = h('select', { id, change: () => of.onChange(list.value) });
  for (const { value, text } of of.values) list.append(h('option', { value, selected: value === of.value }, text));
  return h('div', { class: 'field' }, h('label', { for: id }, of.label), list);
}

/** A table of a head and rows; the first cell of a row names it, the others are numbers. */
export function table(of: {
  caption: string;
  head: string[];
  rows: (Node | string)[][];
  test?: string;
}): HTMLElement {
  const head = h('tr', {}, ...of.head.map((text) => h('th', { scope: 'col' }, text)));
  const rows = of.rows.map((row) =>
    h('tr', {}, ...row.map((cell, i) => (i === 0 ? h('th', { scope: 'row' }, cell) : h('td', {}, cell)))),
  );
  const caption = h('caption', { class: 'quiet' }, of.caption);
  // A wide table scrolls by itself, also by the keyboard, and the page does not.
  return h(
    'div',
    { class: 'table', tabindex: '0', role: 'region', 'aria-label': of.caption, 'data-test': of.test },
    h('table', {}, caption, h('thead', {}, head), h('tbody', {}, ...rows)),
  );
}

/** A value between 0 and 1 as a bar. */
export function bar(share: number, slot = 0): HTMLElement {
  const width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return h('span', { class: 'bar', 'aria-hidden': 'true' }, h('span', { style: `width: ${width}; background: var(${colourOf(slot)})` }));
}

/**
 * A function that starts a task of which one runs at a time: started again meanwhile, it runs once more
 * afterwards. So sliders may be faster than the device, and the last state is what is shown.
 */
export function latest(task: (live: () => boolean) => Promise<void>, failed: (error: unknown) => void) {
  let running = false;
  let again = false;
  let ended = false;
  const start = async () => {
    if (running) {
      again = true;
      return;
    }
    running = true;
    do {
      again = false;
      await breath();
      try {
        await task(() => !ended);
      } catch (error) {
        if (!ended) failed(error);
      }
    } while (again && !ended);
    running = false;
  };
  return { start: () => void start(), end: () => void (ended = true) };
}

let breathed = 0;

/** Lets the browser draw and listen, where a long computation has not for a while. */
export async function breath(): Promise<void> {
  if (performance.now() - breathed < 12) return;
  await new Promise((resolve) => setTimeout(resolve));
  breathed = performance.now();
}

/** What went wrong, in words: the library's and the browser's are English, text is the page's own. */
export function told(error: unknown): HTMLElement {
  return h('span', { lang: typeof error !== 'string' && 'en' }, words(error));
}

/** A place for the sentence of what went wrong. */
export function problem(): { element: HTMLElement; tell: (error: unknown) => void; clear: () => void } {
  const element = h('p', { class: 'problem', role: 'alert', hidden: true });
  return {
    element,
    tell: (error) => {
      element.replaceChildren(told(error));
      element.hidden = false;
    },
    clear: () => {
      element.hidden = true;
      element.textContent = '';
    },
  };
}
