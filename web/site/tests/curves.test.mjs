import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cells, opened } from './browser.mjs';
import { functions } from './reference.mjs';

let b;
before(async () => (b = await opened()));
after(() => b.close());

/** The values that are read at x, once they are. */
async function readout(page, x) {
  await page.waitForFunction((x) => Math.abs(Number(document.querySelector('[data-x]')?.dataset.x) - x) < 1e-9, x);
  return Object.fromEntries((await cells(page, 'readout')).map(([name, ...values]) => [name, values.map(Number)]));
}

const box = (page, name) => page.getByRole('checkbox', { name, exact: true });

function near(got, want, name) {
  // Six digits are shown.
  assert.ok(Math.abs(got - want) <= 6e-6 * Math.max(Math.abs(want), 1e-3), `${name}: ${got} for ${want}`);
}

test('curves are drawn on the GPU, and their values at 1 are those of f64', async () => {
  const page = await b.open();
  assert.equal(await page.getAttribute('.status', 'data-kind'), 'gpu');
  await page.waitForSelector('figure[data-ready="relu, gelu, silu"]');
  assert.equal(await page.locator('.uplot canvas').count(), 2);
  const read = await readout(page, 1);
  for (const [name, [value, slope]] of Object.entries(read)) {
    near(value, functions[name][0](1), name);
    near(slope, functions[name][1](1), `${name}'`);
  }
  assert.deepEqual(Object.keys(read), ['relu', 'gelu', 'silu']);
  const first = await page.evaluate(() => performance.getEntriesByName('first-curve')[0].startTime);
  console.log(`first curve after ${Math.round(first)} ms`);
  assert.deepEqual(page.errors, []);
});

test('the pointer reads values, a typed x too, and the curves follow a wider x', async () => {
  const page = await b.open();
  await page.waitForSelector('figure[data-ready="relu, gelu, silu"]');
  const over = await page.locator('.u-over').first().boundingBox();
  await page.mouse.move(over.x + over.width * 0.4, over.y + over.height / 2);
  const x = await page.waitForFunction(() => Number(document.querySelector('.at input').value) < 0 && Number(document.querySelector('.at input').value));
  const at = await x.jsonValue();
  // A place of the curve, near where the pointer is.
  assert.ok(Math.abs(at - (-6 + 12 * 0.4)) < 0.03, `reads at ${at}`);
  await page.waitForFunction((x) => Math.abs(Number(document.querySelector('[data-x]').dataset.x) - x) < 1e-5, at);
  const rows = await cells(page, 'readout');
  near(Number(rows[1][1]), functions.gelu[0](Math.fround(at)), 'gelu under the pointer');
  await page.fill('.at input[type=number]', '-2.5');
  near((await readout(page, -2.5)).silu[1], functions.silu[1](-2.5), "silu'");
  // By the keyboard: the place, and the width.
  await page.focus('.at input[type=range]');
  await page.keyboard.press('ArrowRight');
  near((await readout(page, Math.fround(-2.49))).gelu[0], functions.gelu[0](Math.fround(-2.49)), 'gelu');
  await page.focus('.at .slider input');
  await page.keyboard.press('End');
  assert.match(await page.textContent('.at output'), /100/);
  assert.deepEqual(page.errors, []);
});

test('a function is added by the keyboard, and its slider is the registry’s', async () => {
  const page = await b.open('?backend=cpu#/curves');
  await page.focus('.functions input[type=search]');
  await page.keyboard.type('elu');
  await box(page, 'elu').focus();
  await page.keyboard.press('Space');
  await page.waitForSelector('figure[data-ready="relu, gelu, silu, elu"]');
  await page.fill('.at input[type=number]', '-1');
  near((await readout(page, -1)).elu[0], Math.expm1(-1), 'elu');
  const alpha = page.locator('section[aria-label="elu"] input[type=range]');
  await alpha.focus();
  await page.keyboard.press('End');
  const set = Number(await alpha.inputValue());
  assert.ok(set > 1);
  await page.waitForFunction((want) => Math.abs(Number([...document.querySelectorAll('[data-test=readout] tbody tr')].at(-1).cells[1].textContent) - want) < 1e-4, set * Math.expm1(-1));
  assert.equal(await page.textContent('section[aria-label="elu"] output'), String(set));
  assert.deepEqual(page.errors, []);
});

test('every function of one variable has a curve, and only those', async () => {
  const page = await b.open('?backend=cpu#/curves');
  const names = await page.$$eval('.pill code', (all) => all.map((one) => one.textContent));
  assert.ok(names.length >= 40 && names.includes('snake') && names.includes('rrelu'), names.join());
  for (const other of ['softmax', 'glu', 'prelu', 'maxout', 'cross_entropy']) assert.ok(!names.includes(other), other);
  for (const name of ['relu', 'gelu', 'silu']) await box(page, name).uncheck();
  for (const name of names) {
    await box(page, name).check();
    await page.waitForSelector(`figure[data-ready="${name}"]`);
    assert.equal(await page.locator('.problem:visible').count(), 0, `${name}: ${await page.locator('.problem').allTextContents()}`);
    await box(page, name).uncheck();
  }
  assert.deepEqual(page.errors, []);
});

test('what a function does not take is told in the library’s words', async () => {
  const page = await b.open('?backend=cpu#/curves');
  await box(page, 'hardtanh').check();
  const least = page.locator('section[aria-label="hardtanh"] input[type=range]').first();
  await least.focus();
  await page.keyboard.press('End');
  const told = page.locator('section[aria-label="hardtanh"] .problem');
  await told.waitFor({ state: 'visible' });
  assert.match(await told.textContent(), /max_val/);
  await page.locator('section[aria-label="hardtanh"] button').click();
  await page.waitForSelector('section[aria-label="hardtanh"] .problem', { state: 'hidden' });
  assert.deepEqual(page.errors, []);
});
