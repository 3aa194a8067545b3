// Curves of functions of one variable and of their derivatives.

import type { App, View } from '../app';
import { chart, type Line } from '../chart';
import { COLOURS, h, latest, problem, shown, slider, swatch, table } from '../dom';
import { curve, isCurve, placeOf, spanOf, valueAt, type FunctionInfo, type Options } from '../package';
import { note } from '../strings';

/** Half the width of x; each is divided by the steps so that 1 is a place. */
const WIDTHS = [1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 50, 100];
/** Of a half. */
const STEPS = 600;

// What the visitor has set, kept while other views are open.
const state = {
  chosen: ['relu', 'gelu', 'silu'] as (string | undefined)[],
  options: new Map<string, Record<string, number>>(),
  width: 5,
  x: 1,
};

/** The x of the curves. */
export function places(width: number): Float32Array {
  return Float32Array.from({ length: 2 * STEPS + 1 }, (_, i) => ((i - STEPS) * width) / STEPS);
}

export function curves(app: App): View {
  const t = app.strings.curves;
  const drawable = app.functions.filter(isCurve);
  const find = (name: string) => drawable.find((info) => info.name === name);
  state.chosen = state.chosen.map((name) => (name && find(name) ? name : undefined));

  /** The functions that are chosen, with the colour of each. */
  const chosen = () =>
    state.chosen.flatMap((name, slot) => {
      const info = name && find(name);
      return info ? [{ info, slot }] : [];
    });
  const optionsOf = (info: FunctionInfo): Options => ({ ...state.options.get(info.name) });

  const wrong = problem();
  // A function's value may be far out of what x shows: y shows as far as x.
  const range = (least: number, greatest: number): [number, number] => {
    if (least === null || greatest === null) return [-1, 1];
    const width = WIDTHS[state.width]!;
    const [low, high] = [Math.max(Math.min(least, 0), -width), Math.min(Math.max(greatest, 0), width)];
    const room = 0.06 * (high - low || 1);
    return [low - room, high + room];
  };
  const onCursor = (index: number) => read(x[index]!);
  const values = chart({ title: t.value, xLabel: 'x', range, together: 'curves', onCursor });
  const slopes = chart({ title: t.slope, xLabel: 'x', range, together: 'curves', onCursor });

  let x = places(WIDTHS[state.width]!);
  const readout = h('div', { 'aria-live': 'off' });

  const draw = latest(async (live) => {
    const width = WIDTHS[state.width]!;
    const drawn = places(width);
    const wanted = chosen();
    const done = new Map<FunctionInfo, { y: Float32Array; d?: Float32Array }>();
    let failed: unknown;
    const show = () => {
      if (!live() || width !== WIDTHS[state.width]) return;
      x = drawn;
      const there = wanted.filter(({ info }) => done.has(info));
      const sloped = there.filter(({ info }) => done.get(info)!.d);
      const lines = (of: typeof wanted): Line[] => of.map(({ info, slot }) => ({ label: info.name, slot }));
      values.draw(drawn, lines(there), there.map(({ info }) => done.get(info)!.y));
      slopes.draw(drawn, lines(sloped), sloped.map(({ info }) => done.get(info)!.d!));
      const names = there.map(({ info }) => info.name).join(', ');
      values.element.dataset.ready = names;
      values.describe(t.describes(t.value, names));
      slopes.describe(t.describes(t.slope, names));
      values.point(state.x);
      slopes.point(state.x);
      if (there.length && performance.getEntriesByName('first-curve').length === 0) performance.mark('first-curve');
    };
    const compute = async ({ info }: (typeof wanted)[number]) => {
      const told = cards.get(info.name)?.problem;
      try {
        const [y, d] = await curve(app.wa, info, drawn, optionsOf(info));
        done.set(info, { y, d });
        told?.clear();
        if (isFirst) show();
      } catch (error) {
        told ? told.tell(error) : (failed = error);
      }
    };
    // The first curve does not wait until the others are compiled.
    const isFirst = !values.element.dataset.ready;
    if (isFirst && wanted[0]) await compute(wanted[0]);
    await Promise.all(wanted.slice(isFirst ? 1 : 0).map(compute));
    if (!live()) return;
    show();
    if (failed) wrong.tell(failed);
    else wrong.clear();
    reading.start();
  }, wrong.tell);

  // What is shown of the functions at one x.
  const reading = latest(async (live) => {
    const at = state.x;
    const rows = await Promise.all(
      chosen().map(async ({ info, slot }): Promise<(Node | string)[]> => {
        const name = h('span', { class: 'named' }, swatch(slot), h('code', {}, info.name));
        try {
          const [y, d] = await curve(app.wa, info, Float32Array.of(at), optionsOf(info));
          return [name, shown(y[0]!), d ? shown(d[0]!) : t.noSlope];
        } catch (error) {
          cards.get(info.name)?.problem.tell(error);
          return [name, '–', '–'];
        }
      }),
    );
    if (!live()) return;
    readout.replaceChildren(table({ caption: t.read, head: [t.name, 'f(x)', 'f′(x)'], rows, test: 'readout' }));
    readout.dataset.x = String(at);
  }, wrong.tell);

  const number = h('input', { type: 'number', step: 'any', value: state.x, 'aria-label': t.at });
  const place = h('input', { type: 'range', 'aria-label': t.at, step: 'any' });
  const read = (at: number, typed = false) => {
    state.x = at;
    if (!typed) number.value = String(Number(at.toPrecision(6)));
    place.valueAsNumber = at;
    place.setAttribute('aria-valuetext', shown(at));
    reading.start();
  };
  number.addEventListener('input', () => {
    if (!Number.isFinite(number.valueAsNumber)) return;
    read(number.valueAsNumber, true);
    values.point(state.x);
    slopes.point(state.x);
  });
  place.addEventListener('input', () => {
    read(Math.fround(place.valueAsNumber));
    values.point(state.x);
    slopes.point(state.x);
  });
  const spread = () => {
    const width = WIDTHS[state.width]!;
    place.min = String(-width);
    place.max = String(width);
    place.step = String(width / STEPS);
    place.valueAsNumber = state.x;
  };
  spread();

  const width = slider({
    label: t.width,
    min: 0,
    max: WIDTHS.length - 1,
    step: 1,
    value: state.width,
    show: (i) => `-${WIDTHS[i]} … ${WIDTHS[i]}`,
    onInput: (i) => {
      state.width = i;
      spread();
      draw.start();
    },
  });

  // What is to say of each chosen function, with its sliders.
  const cards = new Map<string, { element: HTMLElement; problem: ReturnType<typeof problem> }>();
  const cardList = h('div', { class: 'cards' });
  const card = ({ info, slot }: { info: FunctionInfo; slot: number }) => {
    const told = problem();
    const sliders = info.options.flatMap((option) => {
      const span = spanOf(option);
      if (!span) return [];
      const values = state.options.get(info.name) ?? {};
      const made = slider({
        label: span.name,
        ...span,
        value: placeOf(span, values[span.name] ?? span.value),
        show: (place) => shown(valueAt(span, place), 4),
        onInput: (place) => {
          state.options.set(info.name, { ...state.options.get(info.name), [span.name]: valueAt(span, place) });
          draw.start();
        },
      });
      // The default may lie between the slider's steps.
      if (values[span.name] === undefined && Number.isFinite(span.value)) made.element.querySelector('output')!.textContent = shown(span.value, 4);
      return [made.element];
    });
    const reset = h(
      'button',
      {
        type: 'button',
        class: 'small',
        click: () => {
          state.options.delete(info.name);
          const old = cards.get(info.name)!.element;
          old.replaceWith(card({ info, slot }).element);
          draw.start();
        },
      },
      t.reset,
    );
    const say = note(app.strings, info.name);
    const element = h(
      'section',
      { class: 'card', style: `border-top-color: var(--c${slot + 1})`, 'aria-label': info.name },
      h('h3', {}, swatch(slot), h('code', {}, info.name)),
      say && h('p', {}, say),
      h(
        'dl',
        {},
        h('dt', {}, t.formula),
        h('dd', { lang: 'en' }, h('code', {}, info.formula)),
        ...(info.derivative ? [h('dt', {}, t.gradient), h('dd', { lang: 'en' }, h('code', {}, info.derivative))] : []),
        h('dt', {}, t.source),
        h('dd', { lang: 'en' }, info.source),
        ...(info.aliases.length ? [h('dt', {}, t.also), h('dd', {}, h('code', {}, info.aliases.join(', ')))] : []),
      ),
      sliders.length > 0 && h('div', { class: 'controls' }, ...sliders, reset),
      told.element,
    );
    const made = { element, problem: told };
    cards.set(info.name, made);
    return made;
  };

  const hint = h('p', { class: 'quiet', role: 'status' });
  const summary = h('summary', {});
  const cardsAnew = () => {
    const now = chosen();
    cards.clear();
    cardList.replaceChildren(...now.map((one) => card(one).element));
    if (now.length === 0) cardList.append(h('p', { class: 'quiet' }, t.none));
    summary.textContent = t.chosen(now.length);
    const full = now.length >= COLOURS;
    hint.textContent = full ? t.full : '';
    for (const { box, info } of boxes) {
      box.disabled = full && !box.checked;
      const slot = state.chosen.indexOf(info.name);
      box.parentElement!.style.setProperty('--own', slot < 0 ? 'transparent' : `var(--c${slot + 1})`);
    }
  };
  const boxes = drawable.map((info) => {
    const box = h('input', {
      type: 'checkbox',
      checked: state.chosen.includes(info.name),
      change: () => {
        const slot = box.checked ? Array.from({ length: COLOURS }, (_, i) => i).find((i) => !state.chosen[i])! : state.chosen.indexOf(info.name);
        state.chosen[slot] = box.checked ? info.name : undefined;
        cardsAnew();
        draw.start();
      },
    });
    return { info, box, element: h('label', { class: 'pill' }, box, h('code', {}, info.name)) };
  });
  const filter = h('input', {
    type: 'search',
    placeholder: t.find,
    'aria-label': t.find,
    input: () => {
      const wanted = filter.value.trim().toLowerCase();
      for (const { info, element } of boxes) element.hidden = ![info.name, ...info.aliases].some((name) => name.includes(wanted));
    },
  });
  const list = h(
    'details',
    { class: 'functions', open: matchMedia('(min-width: 60rem)').matches },
    summary,
    filter,
    h('div', { class: 'pills', role: 'group', 'aria-label': t.functions }, ...boxes.map((box) => box.element)),
    hint,
  );

  const element = h(
    'div',
    {},
    h('h1', {}, t.title),
    h('p', { class: 'lead' }, t.lead),
    h(
      'div',
      { class: 'curves' },
      list,
      h(
        'div',
        {},
        wrong.element,
        h('div', { class: 'pair' }, values.element, slopes.element),
        h('div', { class: 'at' }, h('span', { 'aria-hidden': 'true' }, 'x ='), number, place, width.element),
        readout,
        h('h2', { class: 'hidden' }, t.functions),
        cardList,
      ),
    ),
  );
  cardsAnew();
  return {
    element,
    shown: draw.start,
    dispose: () => {
      draw.end();
      reading.end();
      values.dispose();
      slopes.dispose();
    },
  };
}

