// A network that is trained while one looks.

import type { App, View } from '../app';
import { chart } from '../chart';
import { breath, h, problem, select, shown, slider, table } from '../dom';
import { digits as load, PIXELS, type Digits } from '../digits';
import { accuracy, BATCH, HIDDEN, Network, type Slopes } from '../network';
import { hasSlope, isCurve } from '../package';

const state = { name: 'relu', power: -0.7 };
const SHOWN = 12;

export function train(app: App): View {
  const t = app.strings.train;
  const wrong = problem();
  const names = app.functions.filter((info) => isCurve(info) && hasSlope(info)).map((info) => info.name);
  const share = (): [number, number] => [0, 1];
  const plots = {
    loss: chart({ title: t.loss, xLabel: t.steps, height: 200 }),
    accuracy: chart({ title: t.accuracy, xLabel: t.epochs, height: 200, range: share }),
    slope: chart({ title: t.slope, xLabel: t.epochs, height: 200, legend: true }),
    dead: chart({ title: t.dead, xLabel: t.epochs, height: 200, range: () => [0, 32], legend: true }),
  };

  let data: { train: Digits; test: Digits } | undefined;
  let network: Network | undefined;
  let running = false;
  let ended = false;
  let losses: number[] = [];
  let accuracies: number[] = [];
  let slopes: Slopes[][] = [];
  let read: number[] = [];

  const now = h('div', {});
  const pictures = h('ul', { class: 'digits' });

  const draw = () => {
    const steps = losses.map((_, i) => i + 1);
    plots.loss.draw(steps, [{ label: t.batch, slot: 0 }], [losses]);
    const epochs = accuracies.map((_, i) => i);
    plots.accuracy.draw(epochs, [{ label: t.test, slot: 0 }], [accuracies]);
    const later = slopes.map((_, i) => i + 1);
    const layers = Array.from({ length: HIDDEN }, (_, slot) => ({ label: t.layer(slot + 1), slot }));
    plots.slope.draw(later, layers, layers.map((_, i) => slopes.map((all) => all[i]!.mean)));
    plots.dead.draw(later, layers, layers.map((_, i) => slopes.map((all) => all[i]!.dead)));
    const last = slopes.at(-1);
    const percent = accuracies.length ? `${(100 * accuracies.at(-1)!).toFixed(1)} %` : '–';
    const rows: [string, string][] = [
      [t.epoch, String(network ? Math.floor(network.epochs + 1e-9) : 0)],
      [t.lossNow, losses.length ? shown(losses.at(-1)!, 4) : '–'],
      [t.accuracyNow, percent],
      ...Array.from({ length: HIDDEN }, (_, i): [string, string] => [t.deadNow(i + 1), last ? String(last[i]!.dead) : '–']),
      ...Array.from({ length: HIDDEN }, (_, i): [string, string] => [t.slopeNow(i + 1), last ? shown(last[i]!.mean, 3) : '–']),
    ];
    now.replaceChildren(table({ caption: t.state, head: [t.what, t.now], rows, test: 'training' }));
  };

  /** Some of the unseen digits, as pixels, with what they are taken for. */
  const show = () => {
    if (!data) return;
    const { test } = data;
    const items = Array.from({ length: SHOWN }, (_, i) => {
      const canvas = h('canvas', { width: 8, height: 8, 'aria-hidden': 'true' });
      const context = canvas.getContext('2d');
      if (context) {
        const pixels = context.createImageData(8, 8);
        for (let k = 0; k < PIXELS; k++) {
          const ink = 255 - Math.round(255 * test.images[i * PIXELS + k]!);
          pixels.data.set([ink, ink, ink, 255], 4 * k);
        }
        context.putImageData(pixels, 0, 0);
      }
      const [digit, guess] = [test.classes[i]!, read[i]!];
      const right = digit === guess;
      return h('li', { class: right ? 'right' : 'wrong', title: t.reads(digit, guess) }, canvas, h('span', { 'aria-hidden': 'true' }, `${guess} ${right ? '✓' : '✗'}`), h('span', { class: 'hidden' }, t.reads(digit, guess)));
    });
    pictures.replaceChildren(...items);
  };

  const test = async () => {
    if (!network || !data) return;
    read = await network.read(data.test);
    accuracies.push(accuracy(read, data.test));
  };

  const begin = async () => {
    data ??= await load();
    network = new Network(app.wa, state.name, data.train);
    [losses, accuracies, slopes] = [[], [], []];
    await test();
    if (ended) return;
    draw();
    show();
  };

  const button = h('button', { type: 'button', class: 'main', click: () => void toggle() }, t.start);
  const stop = () => {
    running = false;
    button.textContent = t.start;
  };

  // One training runs at a time: the next waits for its end.
  let turn: Promise<void> = Promise.resolve();
  const anew = () => {
    stop();
    wrong.clear();
    turn = turn.then(begin).catch(wrong.tell);
    return turn;
  };
  const toggle = async () => {
    if (running) return stop();
    running = true;
    button.textContent = t.pause;
    turn = turn.then(run).catch((error) => {
      stop();
      wrong.tell(error);
    });
    await turn;
  };
  const run = async () => {
    if (!network || !data) return;
    const perEpoch = data.train.count / BATCH;
    while (running && !ended) {
      await breath();
      if (!running || ended) break;
      const loss = await network.step(10 ** state.power);
      if (ended) return;
      losses.push(loss);
      if (network.steps % perEpoch === 0) {
        slopes.push(network.slopes());
        await test();
        if (ended) return;
        show();
      }
      if (!Number.isFinite(loss)) {
        stop();
        wrong.tell(t.broken);
      }
      if (losses.length % 4 === 0 || !running) draw();
      now.dataset.steps = String(network.steps);
    }
    draw();
  };

  const element = h(
    'div',
    {},
    h('h1', {}, t.title),
    h('p', { class: 'lead' }, t.lead),
    h(
      'div',
      { class: 'controls' },
      select({
        label: app.strings.lessons.function,
        values: names.map((name) => ({ value: name, text: name })),
        value: state.name,
        onChange: (name) => {
          state.name = name;
          void anew();
        },
      }),
      slider({
        label: t.rate,
        min: -3,
        max: 1,
        step: 0.1,
        value: state.power,
        show: (power) => shown(10 ** power, 2),
        onInput: (power) => (state.power = power),
      }).element,
      h('div', { class: 'buttons' }, button, h('button', { type: 'button', click: () => void anew() }, t.fresh)),
    ),
    wrong.element,
    h('div', { class: 'training' }, h('div', {}, now, h('h2', {}, t.digits), pictures), h('div', {}, h('div', { class: 'pair' }, plots.loss.element, plots.accuracy.element, plots.slope.element, plots.dead.element))),
    h('p', {}, t.words),
    h('p', { class: 'quiet' }, t.source),
  );
  return {
    element,
    shown: () => void anew(),
    dispose: () => {
      ended = true;
      for (const plot of Object.values(plots)) plot.dispose();
    },
  };
}
