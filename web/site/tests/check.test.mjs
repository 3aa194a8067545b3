import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { cells, opened } from './browser.mjs';

let b;
before(async () => (b = await opened()));
after(() => b.close());

const found = (page) => page.waitForSelector('[data-ready=found]', { state: 'attached', timeout: 90_000 });

async function saved(page) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'report.json' }).click()]);
  assert.equal(download.suggestedFilename(), 'report.json');
  return download;
}

test('some functions are checked on the GPU, and are within their bounds', async () => {
  const page = await b.open('?backend=gpu#/check/relu,gelu');
  await page.click('button.main');
  await found(page);
  const rows = await cells(page, 'accuracy');
  assert.ok(rows.length >= 4, rows.join('\n'));
  for (const name of ['relu', 'gelu']) {
    for (const direction of ['forward', 'backward']) {
      const row = rows.find((row) => row[0] === name && row[1] === direction);
      assert.ok(row, `${name} ${direction}`);
      assert.ok(Number(row[2]) <= Number(row[3]), row.join());
      assert.equal(row[4], '✓ within');
    }
  }
  const verdicts = await page.textContent('[data-test=verdicts]');
  assert.match(verdicts, /swiftshader/i);
  assert.match(verdicts, /Self-check: ✓ \d+ right, none wrong/);
  assert.equal(await page.locator('.wrong').count(), 0);
  assert.deepEqual(page.errors, []);
});

test('a report is made beside the page, which stays usable, and is handed out', async () => {
  const page = await b.open('?backend=cpu#/check');
  await page.selectOption('select', '10');
  await page.click('button.main');
  await page.waitForFunction(() => /^\d+ of \d+: /.test(document.querySelector('progress + p').textContent), null, { timeout: 60_000 });
  // The page answers while the worker computes, which goes on.
  await page.click('button[lang=zh-Hans]');
  await page.waitForFunction(() => /^\d+ \/ \d+： .+/.test(document.querySelector('progress + p').textContent));
  assert.equal(await page.locator('progress + p [lang=en]').count(), 1);
  await page.click('header nav a[href="#/lessons"]');
  await page.waitForSelector('#depth table');
  await page.click('button[lang=en]');
  await page.click('header nav a[href="#/check"]');
  await found(page);
  const report = JSON.parse(fs.readFileSync(await (await saved(page)).path(), 'utf8'));
  assert.equal(report.format, 'activations report, 1');
  const [measured] = report.backends;
  assert.equal(measured.error, null);
  const rows = await cells(page, 'accuracy');
  // The worst of each function and direction.
  const worst = {};
  for (const { function: text, pass, max_ulp } of [...measured.check, ...measured.upstream.map((row) => ({ ...row, pass: 'backward, any dy' }))]) {
    const key = `${text.split('(')[0]} ${pass}`;
    worst[key] = Math.max(worst[key] ?? 0, max_ulp);
  }
  assert.ok(rows.length > 0);
  for (const [name, pass, ulp] of rows) assert.ok(Number(ulp) <= worst[`${name} ${pass}`] + 0.005, `${name} ${pass} ${ulp}`);
  assert.deepEqual(new Set(rows.map(([name, pass]) => `${name} ${pass}`)), new Set(Object.keys(worst)));
  assert.match(await page.textContent('[data-test=verdicts]'), new RegExp(`${measured.left_out.length} checks and rates were left out`));
  assert.deepEqual(page.errors, []);
});

/** A worker that tells what the test says, one after the other; without that, one that does not start. */
function worker(page, told) {
  return page.evaluate((told) => {
    window.Worker = class extends EventTarget {
      postMessage() {
        if (!told.length) setTimeout(() => this.dispatchEvent(new ErrorEvent('error', { message: 'no modules' })));
        for (const data of told) setTimeout(() => this.dispatchEvent(new MessageEvent('message', { data })));
      }
      terminate() {}
    };
  }, told);
}

test('what is wrong is told first, and rates stand beside the copy', async () => {
  const row = { function: 'relu', pass: 'forward', passed: true, max_ulp: 0, bound: 2 };
  const found = {
    device: 'gpu: a device of the test',
    self: { right: 129, wrong: 1 },
    rows: [row, { function: 'tanh', pass: 'any dy', passed: false, max_ulp: 'inf', bound: 4 }],
    halves: { results: 13_200_000, wrong: 3 },
    rates: [{ function: 'gelu', pass: 'backward', median_gb_per_s: 45.6789, copy_median_gb_per_s: 91.3578, share_of_copy: 0.5 }],
    shape: [1024, 1024],
    leftOut: [],
    report: { format: 'of the test' },
  };
  const context = { viewport: { width: 390, height: 844 } };
  const page = await b.open('?backend=cpu#/check', context);
  await worker(page, [{ what: 'found', found }]);
  await page.click('button.main');
  await page.waitForSelector('[data-ready=found]', { state: 'attached' });
  assert.deepEqual(await cells(page, 'accuracy'), [
    ['tanh', 'backward, any dy', 'inf', '4.00', '✗ OUTSIDE'],
    ['relu', 'forward', '0.00', '2.00', '✓ within'],
  ]);
  assert.deepEqual(await cells(page, 'rates'), [['gelu', 'backward', '45.7', '91.4', '50 %']]);
  const verdicts = await page.textContent('[data-test=verdicts]');
  for (const said of ['✗ 1 wrong, 129 right', '✗ 1 of 2 checks are outside their bounds', '✗ 3 of 13.2 million results are wrong']) assert.ok(verdicts.includes(said), verdicts);
  assert.deepEqual(JSON.parse(fs.readFileSync(await (await saved(page)).path(), 'utf8')), found.report);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  assert.deepEqual(page.errors, []);
});

test('a check that breaks off says why, in the language it is said in, and nothing of what it has not checked', async () => {
  const page = await b.open('?backend=cpu#/check', { locale: 'zh-CN' });
  const found = { device: 'gpu: a device of the test', error: 'the device is lost', rows: [], rates: [], leftOut: [] };
  await worker(page, [{ what: 'found', found }]);
  await page.click('button.main');
  await page.waitForSelector('[data-ready=found]', { state: 'attached' });
  assert.deepEqual(await page.$$eval('[data-test=verdicts] li', (lines) => lines.map((line) => [line.lang, line.textContent])), [
    ['en', 'gpu: a device of the test'],
    ['en', '✗ the device is lost'],
  ]);
  await worker(page, [{ what: 'progress', done: 1, total: 9, name: 'relu' }, { what: 'error', problem: 'the worker is lost' }]);
  await page.click('button.main');
  await page.waitForSelector('[data-ready=error]', { state: 'attached' });
  assert.equal(await page.textContent('main .problem:not([hidden]) [lang=en]'), 'the worker is lost');
  // It is there still in a view that was opened again.
  await page.click('button[lang=en]');
  assert.equal(await page.textContent('main .problem:not([hidden])'), 'the worker is lost');
  assert.equal(await page.locator('button.main').textContent(), 'Check again');
  assert.deepEqual(page.errors, []);
});

for (const [where, told] of [
  ['in a worker', undefined],
  ['in the page', []],
]) {
  test(`a check ${where} is stopped`, async () => {
    const page = await b.open('?backend=cpu#/check');
    if (told) await worker(page, told);
    const doing = () => page.textContent('progress + p');
    await page.click('button.main');
    await page.waitForFunction(() => /^\d+ of \d+: /.test(document.querySelector('progress + p').textContent), null, { timeout: 60_000 });
    await page.getByRole('button', { name: 'Stop' }).click();
    assert.equal(await doing(), 'Stopped.');
    // Nothing is told of it any more.
    await page.waitForTimeout(1500);
    assert.equal(await doing(), 'Stopped.');
    assert.equal(await page.locator('progress:visible').count(), 0);
    assert.equal(await page.locator('button.main').isEnabled(), true);
    assert.deepEqual(page.errors, []);
  });
}
