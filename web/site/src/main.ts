// The page: its head, the view of the address, and the language.

import './style.css';
import type { App, Open, View } from './app';
import { h, told } from './dom';
import { open } from './package';
import { keep, languages, preferred, type Language } from './strings';
import { check } from './views/check';
import { curves } from './views/curves';
import { lessons } from './views/lessons';
import { train } from './views/train';

const views = { curves, lessons, train, check } satisfies Record<string, Open>;
type Name = keyof typeof views;

let language: Language = preferred();
let strings = languages[language].strings;
let app: App | undefined;
let view: View | undefined;
let shown: Name | undefined;
let failure: unknown;
/** Whether the browser offers a GPU, where it is not taken. */
let offered = false;

const top = h('header', {});
const status = h('p', { class: 'status', role: 'status' });
const alarm = h('p', { class: 'problem', role: 'alert', hidden: true });
const main = h('main', { id: 'main', tabindex: '-1' });
const foot = h('footer', {});
const skip = h('a', { class: 'skip', href: '#main', click: (event: Event) => (event.preventDefault(), main.focus()) });
document.body.append(skip, top, status, alarm, main, foot);

/** The view of the address, and the part of it. */
function place(): [Name, string] {
  const [name = '', part = ''] = location.hash.replace(/^#\/?/, '').split('/');
  return [Object.hasOwn(views, name) ? (name as Name) : 'curves', part];
}

const current = (): Name => place()[0];

function head() {
  document.documentElement.lang = languages[language].tag;
  document.title = `${strings.views[current()]} · ${strings.title}`;
  skip.textContent = strings.skip;
  const link = (name: Name) =>
    h('a', { href: `#/${name}`, 'aria-current': name === current() && 'page' }, strings.views[name]);
  const choice = (name: Language) =>
    h(
      'button',
      { type: 'button', lang: languages[name].tag, 'aria-pressed': String(name === language), click: () => speak(name) },
      languages[name].name,
    );
  top.replaceChildren(
    h('a', { class: 'brand', href: '#/curves' }, strings.title),
    h('nav', { 'aria-label': strings.title }, ...(Object.keys(views) as Name[]).map(link)),
    h('div', { class: 'languages', role: 'group', 'aria-label': strings.language }, ...(Object.keys(languages) as Language[]).map(choice)),
  );
  foot.replaceChildren(h('p', {}, strings.foot), h('p', {}, h('a', { href: 'licences.txt' }, strings.licences)));
}

function tellStatus() {
  if (failure !== undefined) status.replaceChildren(strings.failed, ' ', told(failure));
  else if (!app) status.textContent = strings.opening;
  else {
    const isGpu = app.wa.kind === 'gpu';
    const asked = new URLSearchParams(location.search).get('backend') === 'cpu';
    const without = isSecureContext ? strings.onCpu : strings.insecureCpu;
    const why = isGpu ? strings.onGpu : asked ? strings.askedCpu : offered ? strings.softwareCpu : without;
    status.dataset.kind = app.wa.kind;
    status.replaceChildren(
      h('span', { class: 'dot', 'aria-hidden': 'true' }),
      why,
      ' ',
      h('span', { class: 'quiet', lang: 'en' }, app.wa.describe()),
      ...(isGpu || !offered ? [] : [' ', h('a', { href: `?backend=gpu${location.hash}` }, strings.tryGpu)]),
    );
  }
}

function show() {
  view?.dispose();
  view = undefined;
  main.replaceChildren();
  if (!app) return;
  try {
    view = views[current()]({ ...app, strings });
    main.append(view.element);
    view.shown?.();
    shown = current();
    view.part?.(place()[1]);
  } catch (error) {
    alert(error);
  }
}

function render() {
  head();
  tellStatus();
  show();
}

function speak(chosen: Language) {
  language = chosen;
  strings = languages[language].strings;
  keep(language);
  render();
  // The button that had the focus was made anew.
  top.querySelector<HTMLElement>('[aria-pressed="true"]')?.focus();
}

/** Nothing fails in silence. */
function alert(error: unknown) {
  alarm.replaceChildren(strings.lost, ' ', told(error));
  alarm.hidden = false;
}

addEventListener('error', (event) => alert(event.error ?? new Error(event.message)));
addEventListener('unhandledrejection', (event) => alert(event.reason));
addEventListener('hashchange', () => {
  alarm.hidden = true;
  const [name, part] = place();
  if (view?.part && part && name === shown) return view.part(part);
  render();
  if (part) return;
  scrollTo(0, 0);
  main.focus({ preventScroll: true });
});

render();
try {
  const wa = await open();
  app = { wa, functions: wa.functions(), strings };
  if (wa.kind === 'cpu') offered = Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
} catch (error) {
  failure = error;
}
tellStatus();
show();
