import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { cells, opened } from './browser.mjs';
import { functions, mean, multiply, noise, softmax, transposed } from './reference.mjs';

let b;
before(async () => (b = await opened()));
after(() => b.close());

/** The page at a lesson. */
async function lesson(name, backend = 'gpu') {
  const page = await b.open(`?backend=${backend}#/lessons/${name}`);
  assert.equal(await page.getAttribute('.status', 'data-kind'), backend);
  await page.waitForSelector(`#${name} table`, { timeout: 60_000 });
  return page;
}

const near = (got, want, relative, what) => assert.ok(Math.abs(got - want) <= relative * Math.abs(want), `${what}: ${got} for ${want}`);

/** The lesson's random network in f64. */
function left([f, slope], layers, gain) {
  const [width, samples] = [64, 16];
  const { normals } = noise(1);
  let x = normals(samples * width);
  const passed = [];
  for (let i = 0; i < layers; i++) {
    const w = normals(width * width, Math.sqrt(gain / width));
    const z = multiply(x, w, samples, width, width);
    x = z.map(f);
    passed.push({ w, slopes: z.map(slope) });
  }
  let g = normals(samples * width);
  const size = (g) => Math.sqrt(mean(g.map((g) => g * g)));
  const upstream = size(g);
  let products = new Array(samples).fill(1);
  for (const { w, slopes } of passed.reverse()) {
    products = products.map((p, i) => p * mean(slopes.slice(i * width, (i + 1) * width).map(Math.abs)));
    g = multiply(g.map((g, i) => g * slopes[i]), transposed(w, width, width), samples, width, width);
  }
  return { gradient: size(g) / upstream, product: mean(products) };
}

test('what is left of a gradient is what f64 leaves', async () => {
  const page = await lesson('depth');
  const rows = await cells(page, 'depth');
  assert.deepEqual(rows.map(([name]) => name), ['tanh', 'sigmoid', 'relu']);
  for (const [name, , gradient, product] of rows) {
    const want = left(functions[name], 20, 2);
    // Three digits are shown; a rectifier near 0 may be off in f32 and on in f64.
    near(Number(gradient), want.gradient, 0.01, `gradient of ${name}`);
    near(Number(product), want.product, 0.01, `slopes of ${name}`);
  }
  assert.equal(rows[1][1], '0.25');
  await page.selectOption('#depth select >> nth=0', 'gelu');
  await page.waitForSelector('#depth [data-ready="gelu 20"]');
  assert.equal((await cells(page, 'depth'))[0][0], 'gelu');
  assert.deepEqual(page.errors, []);
});

test('relu dies at a large learning rate and the others do not; at a small one it learns', async () => {
  const page = await lesson('dying', 'cpu');
  await page.waitForSelector('#dying [data-ready="1.3"]', { timeout: 60_000 });
  const rows = await cells(page, 'dying');
  assert.deepEqual(rows.map(([name]) => name), ['relu', 'leaky_relu', 'elu', 'prelu', 'maxout']);
  assert.deepEqual(rows.map((row) => row[3]), ['dead: no slope anywhere', ...Array(4).fill('has learned')]);
  // Dead, it answers 0: the error is the mean of x² at 64 places from 0 to 1.
  const x = Array.from({ length: 64 }, (_, i) => i / 63);
  near(Number(rows[0][1]), mean(x.map((x) => x * x)), 2e-3, 'the error of the dead unit');
  await page.focus('#dying input[type=range]');
  for (let i = 0; i < 8; i++) await page.keyboard.press('ArrowLeft');
  await page.waitForSelector('#dying [data-ready="0.5"]', { timeout: 60_000 });
  assert.deepEqual((await cells(page, 'dying')).map((row) => row[3]), Array(5).fill('has learned'));
  assert.deepEqual(page.errors, []);
});

test('on the GPU the unit dies too', async () => {
  const page = await lesson('dying');
  await page.waitForSelector('#dying [data-ready="1.3"]', { timeout: 90_000 });
  assert.deepEqual((await cells(page, 'dying')).map((row) => row[3].slice(0, 4)), ['dead', 'has ', 'has ', 'has ', 'has ']);
  assert.deepEqual(page.errors, []);
});

test('softmax sums to 1 at every temperature, and is that of f64', async () => {
  const page = await lesson('temperature');
  const logits = [3, 2, 1, 0, -1];
  const holds = async (temperature) => {
    const rows = await cells(page, 'temperature');
    softmax(logits.map((x) => x / temperature)).forEach((p, i) => assert.ok(Math.abs(Number(rows[i][3]) - p) <= 5.1e-5, `${rows[i]} for ${p}`));
    assert.equal(rows[5][3], '1.0000');
  };
  await holds(1);
  await page.focus('#temperature input[type=range] >> nth=0');
  await page.keyboard.press('End');
  await page.waitForFunction(() => document.querySelector('#temperature caption').textContent.endsWith('T = 10'));
  await holds(10);
  await page.keyboard.press('Home');
  await page.waitForFunction(() => document.querySelector('#temperature caption').textContent.endsWith('T = 0.1'));
  await holds(0.1);
  assert.deepEqual(page.errors, []);
});

test('softmax of two is the logistic function of their difference', async () => {
  const page = await lesson('two');
  const rows = await cells(page, 'two');
  const [logistic, soft, difference] = rows.map((row) => Number(row[1]));
  near(logistic, 1 / (1 + Math.exp(-1.7)), 1e-6, 'sigmoid');
  near(soft, softmax([1.3, -0.4])[0], 1e-6, 'softmax');
  assert.ok(difference < 2e-7);
  assert.deepEqual(page.errors, []);
});

test('classes share 1 and labels do not; losses and gradients are those of f64', async () => {
  const page = await lesson('labels');
  const holds = async (logits, kind, labels) => {
    const p = softmax(logits);
    const q = logits.map(functions.sigmoid[0]);
    const digits = (got, want) => assert.ok(Math.abs(Number(got) - want) <= 5.1e-5, `${got} for ${want}`);
    const exclusive = await cells(page, 'exclusive');
    const independent = await cells(page, 'independent');
    logits.forEach((_, i) => {
      digits(exclusive[i][2], p[i]);
      digits(exclusive[i][3], p[i] - (i === kind));
      digits(independent[i][2], q[i]);
      digits(independent[i][3], q[i] - labels[i]);
    });
    assert.equal(exclusive[4][2], '1.0000');
    const loss = async (mark) => Number((await page.textContent(`[data-test=${mark}] caption`)).match(/loss (\S+)$/)[1]);
    near(await loss('exclusive'), -Math.log(p[kind]), 6e-4, 'cross entropy');
    near(await loss('independent'), -labels.reduce((sum, t, i) => sum + Math.log(t ? q[i] : 1 - q[i]), 0), 6e-4, 'BCE');
  };
  await holds([2, 0.5, 1, -1], 0, [1, 0, 1, 0]);
  await page.focus('#labels .controls input >> nth=1');
  await page.keyboard.press('End');
  await page.check('#labels input[type=radio] >> nth=2');
  await page.check('#labels input[type=checkbox] >> nth=3');
  await page.waitForFunction(() => /outdoors ✓/.test(document.querySelector('[data-test=exclusive]').textContent) && /night ✓/.test(document.querySelector('[data-test=independent]').textContent));
  await holds([2, 5, 1, -1], 2, [1, 0, 1, 1]);
  assert.deepEqual(page.errors, []);
});

test('the contents lead to a lesson', async () => {
  const page = await b.open('?backend=cpu#/lessons');
  await page.click('.contents a[href="#/lessons/labels"]');
  await page.waitForFunction(() => {
    const { top } = document.querySelector('#labels-title').getBoundingClientRect();
    return top >= 0 && top < innerHeight / 2 && document.activeElement.id === 'labels-title';
  });
  assert.deepEqual(page.errors, []);
});
