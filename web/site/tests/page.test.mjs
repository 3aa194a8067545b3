import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { opened } from './browser.mjs';

const axe = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const VIEWS = ['curves', 'lessons', 'train', 'check'];

let b;
before(async () => (b = await opened()));
after(() => b.close());

/** Scrolls through a view, so that all of it is made. */
async function through(page) {
  const height = await page.evaluate(() => document.body.scrollHeight);
  for (let y = 0; y < height; y += 700) {
    await page.evaluate((top) => scrollTo({ top, behavior: 'instant' }), y);
    await page.waitForTimeout(60);
  }
}

for (const [width, colorScheme, locale, whole] of [
  [1280, 'light', 'en-GB', true],
  [390, 'dark', 'zh-CN', true],
  [390, 'light', 'en-GB', false],
]) {
  const what = whole ? 'axe finds nothing, and nothing is wider than the page' : 'nothing is wider than the page';
  test(`${what}: ${width} pixels, ${colorScheme}, ${locale}`, async () => {
    const page = await b.open('?backend=cpu#/curves', { viewport: { width, height: 844 }, colorScheme, locale });
    for (const view of VIEWS) {
      await page.evaluate((view) => (location.hash = `#/${view}`), view);
      await page.waitForFunction((view) => document.querySelector(`nav a[href="#/${view}"][aria-current]`), view);
      await through(page);
      if (view === 'curves') await page.evaluate(() => (document.querySelector('details').open = true));
      const [wide, has] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(wide <= has, `${view}: ${wide} of ${has} pixels`);
      if (!whole) continue;
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => axe.run());
      const said = violations.map((v) => `${v.id}: ${v.help}\n${v.nodes.map((n) => `  ${n.html}\n  ${n.failureSummary}`).join('\n')}`);
      assert.equal(said.join('\n'), '', view);
    }
    assert.deepEqual(page.errors, []);
  });
}

test('the language is changed, and kept', async () => {
  const page = await b.open('?backend=cpu#/lessons');
  assert.equal(await page.textContent('h1'), 'Lessons');
  await page.click('button[lang=zh-Hans]');
  assert.equal(await page.textContent('h1'), '课程');
  assert.equal(await page.getAttribute('html', 'lang'), 'zh-Hans');
  assert.match(await page.title(), /课程/);
  await page.reload();
  await page.waitForSelector('.status[data-kind]');
  assert.equal(await page.textContent('h1'), '课程');
  await page.click('button[lang=en]');
  assert.equal(await page.textContent('h1'), 'Lessons');
  const licences = await page.request.get(b.base + (await page.getAttribute('footer a', 'href')));
  assert.match(await licences.text(), /uplot[^]*SIL OPEN FONT LICENSE[^]*Creative Commons Attribution 4\.0[^]*https:\/\/creativecommons\.org\/licenses\/by\/4\.0\//);
  assert.deepEqual(page.errors, []);
});

test('the keyboard reaches every view', async () => {
  const page = await b.open('?backend=cpu#/curves');
  await page.waitForSelector('main h1');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  const titles = new Set();
  for (const view of [...VIEWS.slice(1), VIEWS[0]]) {
    await page.locator(`header nav a[href="#/${view}"]`).focus();
    await page.keyboard.press('Enter');
    await page.waitForFunction((view) => document.querySelector(`nav a[href="#/${view}"][aria-current]`), view);
    titles.add(await page.textContent('h1'));
    // The content has the focus, and Tab goes on into it.
    await page.waitForFunction(() => document.activeElement.id === 'main');
    await page.keyboard.press('Tab');
    assert.ok(await page.evaluate(() => document.activeElement.closest('main') && document.activeElement.id !== 'main'), view);
  }
  assert.equal(titles.size, VIEWS.length);
  assert.deepEqual(page.errors, []);
});

test('where the GPU is software the CPU computes, and the GPU is a click away', async () => {
  const page = await b.open('#/lessons/two');
  assert.equal(await page.getAttribute('.status', 'data-kind'), 'cpu');
  assert.match(await page.textContent('.status'), /the GPU that this browser offers was not taken\. cpu: .*software/);
  await page.click('.status a');
  await page.waitForSelector('.status[data-kind=gpu]');
  assert.match(page.url(), /\?backend=gpu#\/lessons\/two$/);
  assert.deepEqual(page.errors, []);
});

test('a lost GPU is told in words', async () => {
  const context = await b.browser.newContext();
  const page = await context.newPage();
  await page.addInitScript(() => {
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...given) {
      return (window.device = await request.apply(this, given));
    };
  });
  await page.goto(`${b.base}?backend=gpu#/curves`);
  await page.waitForSelector('figure[data-ready="relu, gelu, silu"]');
  await page.evaluate(() => window.device.destroy());
  await page.fill('.at input[type=number]', '2');
  await page.waitForSelector('section[aria-label=gelu] .problem:not([hidden])');
  assert.match(await page.textContent('section[aria-label=gelu] .problem'), /device (is|was) lost|lost/);
  await context.close();
});

test('an address that names no view shows the first', async () => {
  for (const name of ['nothing', 'constructor']) {
    const page = await b.open(`?backend=cpu#/${name}`);
    await page.waitForSelector('header nav a[href="#/curves"][aria-current]');
    assert.equal(await page.textContent('h1'), 'Functions and their derivatives');
    assert.deepEqual(page.errors, []);
  }
});

test('a page that cannot start says why', async () => {
  const context = await b.browser.newContext();
  const page = await context.newPage();
  await page.route('**/*.wasm', (route) => route.abort());
  await page.goto(`${b.base}#/curves`);
  await page.waitForFunction(() => document.querySelector('.status').textContent.includes('does not load'));
  assert.match(await page.textContent('.status'), /The page could not start: /);
  await context.close();
});

test('over plain http the page says why there is no WebGPU', async () => {
  // A name that is not this machine's own, which browsers trust without https.
  const plain = await opened({ flags: ['--host-resolver-rules=MAP plain.test 127.0.0.1'] });
  try {
    const page = await plain.browser.newPage({ locale: 'en-GB' });
    await page.goto(`${plain.base.replace('127.0.0.1', 'plain.test')}#/curves`);
    await page.waitForSelector('.status[data-kind=cpu]');
    assert.match(await page.textContent('.status'), /over https and on localhost alone/);
    await page.waitForSelector('[data-test=readout]');
  } finally {
    await plain.close();
  }
});

test('without WebGPU the page says so in a line, and computes on the CPU', async () => {
  const without = await opened({ gpu: false });
  try {
    const page = await without.open('#/curves');
    assert.equal(await page.getAttribute('.status', 'data-kind'), 'cpu');
    assert.match(await page.textContent('.status'), /No WebGPU here: everything is computed on the CPU instead\./);
    await page.waitForSelector('figure[data-ready="relu, gelu, silu"]');
    await page.waitForSelector('[data-test=readout]');
    for (const view of VIEWS.slice(1)) {
      await page.click(`header nav a[href="#/${view}"]`);
      await page.waitForFunction((view) => document.querySelector(`nav a[href="#/${view}"][aria-current]`), view);
      assert.equal(await page.locator('.problem:visible').count(), 0);
    }
    assert.deepEqual(page.errors, []);
  } finally {
    await without.close();
  }
});
