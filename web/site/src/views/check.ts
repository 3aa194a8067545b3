// The library's own tests on the visitor's device, and a report of them.

import type { App, View } from '../app';
import type { Found, Row, Told, Ulp } from '../checking';
import { h, problem, select, shown, table } from '../dom';
import type { Activations } from '../package';
import { run } from '../run';
import type { Strings } from '../strings';

const TIMES = [10, 60, 180, 600];

/** Functions that the address names: `#/check/relu,gelu`. */
function some(): string[] | undefined {
  const names = location.hash.split('/')[2];
  return names ? decodeURIComponent(names).split(',') : undefined;
}

/** How the check stands: it goes on while other views are open. */
const state: {
  /** What was last told of it; nothing before that, and where it was stopped. */
  told?: Told;
  /** Stops the one that runs. */
  stop?: () => void;
  stopped: boolean;
  seconds: number;
} = { stopped: false, seconds: 180 };

/** Shows how it stands, where the view is open. */
let changed: (() => void) | undefined;

function begin(wa: Activations) {
  const wish = { backend: wa.kind, seconds: state.seconds, functions: some() };
  delete state.told;
  state.stopped = false;
  state.stop = run(wa, wish, (told) => {
    state.told = told;
    if (told.what !== 'progress') delete state.stop;
    changed?.();
  });
  changed?.();
}

function end() {
  state.stop?.();
  delete state.stop;
  delete state.told;
  state.stopped = true;
  changed?.();
}

export function check(app: App): View {
  const t = app.strings.check;
  const wrong = problem();

  const bar = h('progress', { 'aria-label': t.progress, max: 1, value: 0, hidden: true });
  const doing = h('p', { class: 'quiet' });
  const verdict = h('div', { role: 'status' });
  const results = h('div', {});
  const start = h('button', { type: 'button', class: 'main', click: () => begin(app.wa) });
  const stop = h('button', { type: 'button', click: end }, t.stop);

  const show = () => {
    const { told, stopped } = state;
    const running = state.stop !== undefined;
    start.disabled = running;
    start.textContent = stopped || (told && !running) ? t.again : t.start;
    stop.hidden = bar.hidden = !running;
    if (told?.what === 'progress') {
      bar.max = told.total;
      bar.value = told.done;
      doing.replaceChildren(t.checking(told.done, told.total), ' ', h('span', { lang: 'en' }, told.name));
    } else {
      bar.removeAttribute('value');
      doing.textContent = running ? t.beginning : stopped ? t.stopped : '';
    }
    if (told?.what === 'error') wrong.tell(new Error(told.problem));
    else wrong.clear();
    const found = told?.what === 'found' ? told.found : undefined;
    verdict.replaceChildren(...(found ? verdicts(t, found) : []));
    results.replaceChildren(...(found ? tables(t, found) : []));
    results.dataset.ready = running ? '' : (told?.what ?? '');
  };

  const time = select({
    label: t.time,
    values: TIMES.map((seconds) => ({ value: String(seconds), text: t.seconds(seconds) })),
    value: String(state.seconds),
    onChange: (seconds) => (state.seconds = Number(seconds)),
  });
  const element = h(
    'div',
    {},
    h('h1', {}, t.title),
    h('p', { class: 'lead' }, t.lead),
    app.wa.kind === 'cpu' && h('p', {}, t.cpu),
    h('p', { class: 'quiet' }, t.about),
    h('div', { class: 'controls' }, time, h('div', { class: 'buttons' }, start, stop)),
    bar,
    doing,
    wrong.element,
    verdict,
    results,
  );
  changed = show;
  show();
  return {
    element,
    dispose: () => {
      changed = undefined;
    },
  };
}

type Words = Strings['check'];

const judged = (isRight: boolean, text: string) => h('span', { class: isRight ? 'verdict right' : 'verdict wrong' }, `${isRight ? '✓' : '✗'} ${text}`);

/** What was found, in a line for each part. */
function verdicts(t: Words, { device, error, self, rows, halves, leftOut, report }: Found): HTMLElement[] {
  const bad = rows.filter((row) => !row.passed).length;
  const line = (name: string, verdict: Node) => h('li', {}, `${name}: `, verdict);
  const list = h(
    'ul',
    { class: 'verdicts', 'data-test': 'verdicts' },
    h('li', { lang: 'en' }, device),
    error !== undefined && h('li', { lang: 'en' }, judged(false, error)),
    self && line(t.self, judged(self.wrong === 0, self.wrong ? t.selfWrong(self.wrong, self.right) : t.selfRight(self.right))),
    rows.length > 0 && line(t.accuracy, judged(bad === 0, bad ? t.outside(bad, rows.length) : t.within(rows.length))),
    halves && halves.results > 0 && line(t.halves, judged(halves.wrong === 0, t.rounded(halves.wrong, halves.results))),
    leftOut.length > 0 && h('li', {}, t.leftOut(leftOut.length)),
  );
  if (!report) return [list];
  const download = h('button', { type: 'button', click: () => save(report) }, t.download);
  return [list, h('div', { class: 'buttons' }, download)];
}

function tables(t: Words, { rows, rates, shape }: Found): HTMLElement[] {
  const directions: Record<string, string> = { forward: t.forward, backward: t.backward, 'any dy': t.anyDy };
  const ulp = (x: Ulp) => (typeof x === 'number' ? x.toFixed(2) : x);
  const accuracy = summed(rows).map((row) => [
    h('code', {}, row.function),
    directions[row.pass] ?? row.pass,
    ulp(row.max_ulp),
    ulp(row.bound),
    judged(row.passed, row.passed ? t.ok : t.bad),
  ]);
  const made = [table({ caption: t.table, head: [t.function, t.direction, t.worst, t.bound, t.verdict], rows: accuracy, test: 'accuracy' })];
  if (rates.length > 0) {
    const cells = rates.map((rate) => [
      h('code', {}, rate.function),
      directions[rate.pass] ?? rate.pass,
      shown(rate.median_gb_per_s, 3),
      shown(rate.copy_median_gb_per_s, 3),
      `${Math.round(100 * rate.share_of_copy)} %`,
    ]);
    made.push(table({ caption: t.rates((shape ?? []).join(' × ')), head: [t.function, t.direction, t.rate, t.copy, t.share], rows: cells, test: 'rates' }));
  }
  return made;
}

/** What is wrong, and then the worst of each function and direction over all parameters. */
function summed(rows: Row[]): Row[] {
  const worst = new Map<string, Row>();
  for (const row of rows.filter((row) => row.passed)) {
    const name = row.function.split('(')[0]!;
    const key = [name, row.pass, row.bound].join();
    const known = worst.get(key);
    if (!known || Number(row.max_ulp) > Number(known.max_ulp)) worst.set(key, { ...row, function: name });
  }
  return [...rows.filter((row) => !row.passed), ...worst.values()];
}

/** Hands the report to the visitor as a file. */
function save(report: object) {
  const address = URL.createObjectURL(new Blob([`${JSON.stringify(report)}\n`], { type: 'application/json' }));
  h('a', { href: address, download: 'report.json' }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
