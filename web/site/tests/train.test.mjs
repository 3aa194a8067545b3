import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { cells, opened } from './browser.mjs';
import { mean, multiply, noise, softmax, transposed } from './reference.mjs';

let b;
before(async () => (b = await opened()));
after(() => b.close());

/** The training on the page in f64: relu, learning rate 10^-0.7. The loss of each step. */
function losses(steps) {
  const file = fs.readFileSync(new URL('../../../examples/data/digits.npy', import.meta.url));
  const header = 10 + file.readUInt16LE(8);
  const order = Array.from({ length: 1440 }, (_, i) => i);
  const shuffle = noise(7);
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(shuffle.uniform() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  const rows = order.map((i) => file.subarray(header + 65 * i, header + 65 * (i + 1)));
  const sizes = [64, 32, 32, 10];
  const { normals } = noise(3);
  const layers = [0, 1, 2].map((i) => ({ w: normals(sizes[i] * sizes[i + 1], Math.sqrt(2 / sizes[i])), b: new Array(sizes[i + 1]).fill(0) }));
  const rate = 10 ** -0.7;
  const found = [];
  for (let step = 0; step < steps; step++) {
    const batch = rows.slice((120 * step) % 1440, ((120 * step) % 1440) + 120);
    const n = batch.length;
    const inputs = [batch.flatMap((row) => Array.from(row.subarray(0, 64), (p) => p / 16))];
    let z;
    layers.forEach(({ w, b }, i) => {
      z = multiply(inputs[i], w, n, sizes[i], sizes[i + 1]).map((z, j) => z + b[j % b.length]);
      inputs.push(z.map((z) => Math.max(z, 0)));
    });
    const p = batch.map((_, i) => softmax(z.slice(10 * i, 10 * (i + 1))));
    found.push(mean(batch.map((row, i) => -Math.log(p[i][row[64]]))));
    let dz = p.flatMap((p, i) => p.map((p, k) => (p - (k === batch[i][64])) / n));
    for (let i = 2; i >= 0; i--) {
      const { w, b } = layers[i];
      const [from, to] = [sizes[i], sizes[i + 1]];
      const dw = multiply(transposed(inputs[i], n, from), dz, from, n, to);
      const dx = multiply(dz, transposed(w, from, to), n, to, from);
      dw.forEach((d, j) => (w[j] -= rate * d));
      dz.forEach((d, j) => (b[j % to] -= rate * d));
      dz = dx.map((d, j) => (inputs[i][j] > 0 ? d : 0));
    }
  }
  return found;
}

async function trained(page, steps) {
  await page.waitForSelector('[data-test=training]');
  const button = page.locator('button.main');
  await button.click();
  await page.waitForFunction((steps) => Number(document.querySelector('[data-steps]')?.dataset.steps) >= steps, steps, { timeout: 60_000 });
  await button.click();
  await page.waitForFunction(() => document.querySelector('button.main').textContent === 'Train');
  await page.waitForTimeout(300);
  const state = Object.fromEntries(await cells(page, 'training'));
  return { steps: Number(await page.getAttribute('[data-steps]', 'data-steps')), state };
}

test('the network learns on the GPU as it does in f64', async () => {
  const page = await b.open('?backend=gpu#/train');
  assert.equal(await page.getAttribute('.status', 'data-kind'), 'gpu');
  const { steps, state } = await trained(page, 26);
  const want = losses(steps).at(-1);
  const got = Number(state.Loss);
  // Four digits are shown, and steps in f32 go apart a little.
  assert.ok(Math.abs(got - want) < 1e-3 * want, `the loss after ${steps} steps is ${got}, in f64 ${want}`);
  assert.equal(state['Passes over the data'], String(Math.floor(steps / 12)));
  assert.ok(parseFloat(state['Unseen digits read right']) > 30, state['Unseen digits read right']);
  for (const layer of [1, 2]) {
    const dead = Number(state[`Dead units, layer ${layer}`]);
    assert.ok(Number.isInteger(dead) && dead >= 0 && dead <= 32);
    assert.ok(Number(state[`Mean |f′|, layer ${layer}`]) > 0.1 && Number(state[`Mean |f′|, layer ${layer}`]) < 0.9);
  }
  assert.equal(await page.locator('.digits li').count(), 12);
  assert.deepEqual(page.errors, []);
});

test('with sigmoid the slopes are small, and a rate that is too large is told', async () => {
  const page = await b.open('?backend=cpu#/train');
  await page.waitForSelector('[data-test=training]');
  await page.selectOption('select', 'sigmoid');
  const { state } = await trained(page, 26);
  assert.ok(Number(state['Mean |f′|, layer 1']) <= 0.25);
  assert.equal(state['Dead units, layer 1'], '0');
  await page.selectOption('select', 'square');
  await page.focus('input[type=range]');
  await page.keyboard.press('End');
  await page.click('button.main');
  await page.waitForSelector('.problem:not([hidden])');
  assert.match(await page.locator('main .problem').textContent(), /learning rate is too large/);
  await page.locator('main button', { hasText: 'Start anew' }).click();
  await page.waitForSelector('main .problem', { state: 'hidden' });
  assert.deepEqual(page.errors, []);
});
