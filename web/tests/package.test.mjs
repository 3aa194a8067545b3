// The npm package in a browser, with WebGPU on SwiftShader, against numbers of 50 digits and the CPU backend.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launch, open, WITHOUT } from './browser.mjs';

const data = (name) =>
  fs.readFileSync(new URL(`../../tests/data/${name}`, import.meta.url), 'utf8').trim().split('\n').map(JSON.parse);

let browser;
let there;

before(async () => {
  browser = await launch();
  there = await open(browser);
  await there.page.evaluate(async () => {
    window.m = await import('/wgpu-activations/index.js');
    window.wa = await m.init({ backend: 'gpu' });
    window.cpu = await m.init({ backend: 'cpu' });
    // What an error says, as an object that leaves the page.
    window.failing = async (work) => {
      try {
        await work();
      } catch (error) {
        return { name: error.name, code: error.code, message: error.message };
      }
      return undefined;
    };
    window.noise = (length, seed) => {
      let state = seed;
      return Float32Array.from({ length }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 31 - 1;
      });
    };
  });
});

after(async () => {
  await there?.close();
  await browser?.close();
});

/** Runs in the page; nothing may be said in the console but what `expected` allows. */
async function evaluate(work, argument, expected = /^$/) {
  const result = await there.page.evaluate(work, argument);
  const unexpected = there.said.splice(0).filter((line) => !expected.test(line));
  assert.deepEqual(unexpected, []);
  return result;
}

test('the GPU computes, and says so', async () => {
  const told = await evaluate(() => ({ kind: wa.kind, says: wa.describe(), count: wa.functions().length }));
  assert.equal(told.kind, 'gpu');
  assert.match(told.says, /^gpu: .*swiftshader.* on webgpu/);
  assert.ok(told.count > 60, String(told.count));
});

/** The distance in units of the last place of the exact value. */
function ulp(got, want) {
  if (Number.isNaN(want) || Number.isNaN(got)) return Object.is(got, want) ? 0 : Infinity;
  if (got === want) return 0;
  if (!Number.isFinite(want)) return Infinity;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(want))), -126);
  return Math.abs(got - want) / 2 ** (exponent - 23);
}

const largest = 2 ** 128;
const smallest = 2 ** -126;

test('activations are right to two units of the last place where it is hard', async () => {
  const cases = data('hard_points.jsonl').map(({ function: name, parameters, points }) => ({
    name,
    parameters,
    bits: points.map(([x]) => parseInt(x, 16)),
    wants: points.map(([, y]) => Number(y.replace('inf', 'Infinity').replace('nan', 'NaN'))),
  }));
  const given = cases.map(({ name, parameters, bits }) => ({ name, parameters, bits }));
  const all = await evaluate(async (cases) => {
    const results = [];
    for (const { name, parameters, bits } of cases) {
      const x = new Float32Array(Uint32Array.from(bits).buffer);
      const numbers = Object.fromEntries(Object.entries(parameters).map(([k, v]) => [k, Number(v)]));
      results.push(Array.from(await wa.apply(name, x, numbers), (y) => (Number.isFinite(y) ? y : String(y))));
    }
    return results;
  }, given);
  let compared = 0;
  cases.forEach(({ name, parameters, bits, wants }, i) => {
    wants.forEach((want, j) => {
      const got = Number(all[i][j]);
      // Beyond the largest number is an infinity; the smallest ones may be flushed, of inputs, too.
      const subnormal = (bits[j] & 0x7f800000) === 0 && (bits[j] & 0x7fffff) !== 0;
      if (Math.abs(want) < smallest || subnormal || Math.abs(want) >= largest) return;
      compared++;
      assert.ok(ulp(got, want) <= 2, `${name} ${JSON.stringify(parameters)} of ${bits[j].toString(16)}: ${got}, not ${want}`);
    });
  });
  assert.ok(compared > 1500, String(compared));
});

test('losses and their gradients are right', async () => {
  const cases = data('losses.jsonl').filter((c) => c.function === 'cross_entropy' && c.classes && c.x.length < 4000);
  assert.ok(cases.length > 10, String(cases.length));
  const worst = await evaluate(async (cases) => {
    let worst = 0;
    for (const { shape, x, classes, smoothing, ignore_index, reduction, weight, loss, gradient } of cases) {
      const options = { shape, label_smoothing: smoothing, ignore_index, reduction };
      if (weight) options.weight = weight;
      const inputs = [Float32Array.from(x), Int32Array.from(classes)];
      const y = await wa.cross_entropy(inputs, options);
      const of = (got, want) => {
        const size = Math.max(...want.map(Math.abs), 1e-30);
        want.forEach((want, i) => {
          // A mean of nothing is NaN, for which JSON has no number.
          const error = want === null ? (Number.isNaN(got[i]) ? 0 : Infinity) : Math.abs(got[i] - want) / size;
          worst = Math.max(worst, Number.isNaN(error) ? Infinity : error);
        });
      };
      of(y, [loss].flat());
      if (reduction !== 'none' && gradient.length) of(await wa.grad('cross_entropy', inputs, undefined, options), gradient);
    }
    return worst;
  }, cases);
  // Four units, and the levels of a pairwise sum, of the largest.
  assert.ok(worst <= 16 * 2 ** -24, String(worst));
});

test('every function gives the CPU backend’s numbers, forward and backward, in every form', async () => {
  const told = await evaluate(async () => {
    const far = (a, b) => {
      if (a.length !== b.length) return Infinity;
      const size = Math.max(...Array.from(b, (v) => (Number.isFinite(v) ? Math.abs(v) : 0)), 1e-30);
      let worst = 0;
      for (let i = 0; i < a.length; i++) {
        if (Object.is(a[i], b[i]) || (Number.isNaN(a[i]) && Number.isNaN(b[i]))) continue;
        const error = Math.abs(a[i] - b[i]) / size;
        worst = Math.max(worst, Number.isNaN(error) ? Infinity : error);
      }
      return worst;
    };
    const found = [];
    for (const info of wa.functions()) {
      for (const form of info.forms) {
        const required = form.filter((input) => !input.optional);
        const shape = info.name === 'softmax2d' ? [4, 6, 8] : [24, 8];
        const elements = 192;
        const inputs = required.map((input, i) => {
          if (input.kind === 'targets' && info.options.some((option) => option.name === 'label_smoothing' || option.name === 'ignore_index')) {
            return Int32Array.from({ length: 24 }, (_, i) => (i * 5) % 8);
          }
          if (input.name === 'slope') return noise(8, 3);
          // Numbers of 16 bits.
          const x = noise(elements, 7 + i).map((v) => Math.round(256 * v) / 64);
          // Probabilities.
          return ['targets', 'probabilities'].includes(input.name) ? x.map((v) => Math.abs(v) / 4) : x;
        });
        const options = { shape };
        if (info.options.some((option) => option.name === 'seed')) options.seed = 7;
        const row = { name: info.name, inputs: required.map((input) => input.name).join(', ') };
        try {
          const y = await wa.apply(info.name, inputs, options);
          const want = await cpu.apply(info.name, inputs, options);
          row.forward = far(y, want);
          row.shape = JSON.stringify(y.shape) === JSON.stringify(want.shape);
          if (info.differentiable) {
            const dy = { data: noise(y.length, 5), shape: y.shape };
            const all = await wa.grads(info.name, inputs, dy, options);
            const wants = await cpu.grads(info.name, inputs, dy, options);
            row.backward = Math.max(...all.map((dx, i) => far(dx, wants[i])));
            row.gradients = all.length;
          }
          const half = info.family === 'activation' && (await wa.apply(info.name, new Float16Array(inputs[0]), options));
          if (half) row.half = half.constructor.name === 'Float16Array' && far(half, new Float16Array(want)) <= 2 ** -11;
        } catch (error) {
          row.error = `${error.code}: ${error.message}`;
        }
        found.push(row);
      }
    }
    return found;
  });
  assert.ok(told.length > 60);
  // Of the largest: each is within its contract, and sums round.
  const wrong = told.filter((row) => row.error || !row.shape || !(row.forward <= 1e-6) || (row.backward !== undefined && !(row.backward <= 1e-6)) || row.half === false);
  assert.deepEqual(wrong, []);
  const gates = told.filter((row) => row.inputs === 'value, gate');
  assert.ok(gates.length > 5 && gates.every((row) => row.gradients === 2));
});

test('options, masks, chains and lists are taken', async () => {
  const told = await evaluate(async () => {
    const x = Float32Array.of(1, 2, 3, 4);
    const f = wa.chain('scale(0.5) | add | softmax(axis=-1)');
    const operand = Float32Array.of(1, -1);
    const chained = await f(x, { shape: [2, 2], operands: [operand] });
    const gradients = await f.grad(x, Float32Array.of(1, 0, 0, 0), { shape: [2, 2], operands: [operand] });
    return {
      causal: Array.from(await wa.softmax(x, { shape: [2, 2], axis: -1, causal: true })),
      mask: Array.from(await wa.softmax(x, { shape: [2, 2], mask: [true, false] })),
      alias: Array.from(await wa.apply('SiLU', [1])),
      nested: (await wa.softmax([[1, 2], [3, 4]])).shape,
      text: [f.text, f.operands],
      chained: Array.from(chained),
      by: [gradients.x.length, gradients.operands.map((g) => Array.from(g.shape))],
      both: (await wa.applyWithGrad('cross_entropy', [new Float32Array(2), [1]], { shape: [1, 2] })).map((y) => Array.from(y)),
      output: Array.from(await wa.gradFromOutput('softmax', [0.5, 0.5], [1, 0])),
      half: (await wa.relu({ data: Uint16Array.of(0xbf80, 0x3f80), dtype: 'bf16' })).bits.join(),
      nothing: (await wa.gelu(new Float32Array(0))).length,
      none: Array.from(await wa.relu(x, null)),
      wide: Array.from(await wa.softmax(x, { shape: [2, 2], mask: BigInt64Array.of(1n, 0n) })),
    };
  });
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const near = (got, want) => got.forEach((g, i) => assert.ok(Math.abs(g - want[i]) <= 3e-7, `${got} not ${want}`));
  near(told.causal, [1, 0, sigmoid(-1), sigmoid(1)]);
  near(told.mask, [1, 0, 1, 0]);
  near(told.wide, [1, 0, 1, 0]);
  assert.deepEqual(told.none, [1, 2, 3, 4]);
  near(told.alias, [sigmoid(1)]);
  assert.deepEqual(told.nested, [2, 2]);
  assert.deepEqual(told.text, ['scale(0.5) | add | softmax(axis=-1)', 1]);
  near(told.chained, [sigmoid(1.5), sigmoid(-1.5), sigmoid(1.5), sigmoid(-1.5)]);
  assert.deepEqual(told.by, [4, [[2]]]);
  near(told.both.flat(), [Math.LN2, 0.5, -0.5]);
  near(told.output, [0.25, -0.25]);
  assert.equal(told.half, '0,16256');
  assert.equal(told.nothing, 0);
});

test('a shape among the options is the first array’s, and of what had the same', async () => {
  const told = await evaluate(async () => {
    const [y, dy] = [await wa.relu(Float32Array.of(1, 2, 3, 4)), await wa.relu(Float32Array.of(1, 0, 0, 0))];
    const shape = [2, 2];
    const f = wa.chain('softmax(axis=-1)');
    return {
      rows: Array.from(await wa.softmax(y, { shape })),
      chain: Array.from(await f(y, { shape })),
      given: (await wa.softmax({ data: y, shape: [4, 1] }, { shape })).shape,
      gate: (await wa.swiglu([y, y], { shape })).shape,
      grad: Array.from(await wa.grad('softmax', y, dy, { shape })),
      chained: Array.from((await f.grad(y, dy, { shape })).x),
      own: (await wa.softmax(y)).shape,
      inner: (await wa.relu({ data: await wa.softmax(y, { shape }) })).shape,
      wrong: await failing(() => wa.softmax(y, { shape: [3] })),
    };
  });
  const high = 1 / (1 + Math.exp(-1));
  const near = (got, want) => want.forEach((w, i) => assert.ok(Math.abs(got[i] - w) <= 3e-7, `${got} not ${want}`));
  for (const rows of [told.rows, told.chain]) near(rows, [1 - high, high, 1 - high, high]);
  for (const rows of [told.grad, told.chained]) near(rows, [high * (1 - high), high * (high - 1), 0, 0]);
  assert.deepEqual([told.given, told.gate, told.own, told.inner], [[2, 2], [2, 2], [4], [2, 2]]);
  assert.match(told.wrong.message, /4 elements|3/);
});

test('inputs go by name, in the form that has them', async () => {
  const told = await evaluate(async () => {
    const [value, gate] = [Float32Array.of(1, 2), Float32Array.of(3, -1)];
    return {
      both: Array.from(await wa.swiglu([value, gate])),
      gate: Array.from(await wa.swiglu(value, { gate })),
      value: Array.from(await wa.swiglu(gate, { value })),
      loss: Array.from(await wa.cross_entropy(Float32Array.of(0, 0), { targets: [1], shape: [1, 2] })),
      none: await failing(() => wa.relu(value, { gate })),
      much: await failing(() => wa.swiglu([value, gate], { gate })),
    };
  });
  assert.equal(told.both.length, 2);
  assert.deepEqual([told.gate, told.value], [told.both, told.both]);
  assert.ok(Math.abs(told.loss[0] - Math.LN2) < 1e-6);
  assert.match(told.none.message, /gate/);
  assert.equal(told.much.name, 'ActivationsError');
});

test('arrays are taken as they are at the call, and no promise stays open', async () => {
  const told = await evaluate(async () => {
    const transferred = () => {
      const x = Float32Array.of(-1, 2);
      structuredClone(x.buffer, { transfer: [x.buffer] });
      return x;
    };
    const x = Float32Array.of(-1, 2);
    const first = wa.relu(x);
    x.fill(7);
    const second = wa.relu(x);
    structuredClone(x.buffer, { transfer: [x.buffer] });
    const frame = document.body.appendChild(document.createElement('iframe'));
    const foreign = frame.contentWindow.Float32Array.of(-3, 4);
    const chained = wa.chain('relu')(foreign);
    const other = Array.from(await wa.relu(foreign));
    frame.remove();
    return {
      first: Array.from(await first),
      second: Array.from(await second),
      other,
      chained: Array.from(await chained),
      gone: await failing(() => wa.gelu(transferred())),
      tensor: await failing(() => wa.tensor(transferred(), [2])),
      option: await failing(() => wa.softmax(Float32Array.of(1, 2), { causal: Object.create(null) })),
      unknown: await failing(() => wa.relu(Float32Array.of(1, 2), { bias: Object.create(null) })),
    };
  });
  assert.deepEqual([told.first, told.second], [[0, 2], [7, 7]]);
  assert.deepEqual([told.other, told.chained], [[0, 4], [0, 4]]);
  assert.match(told.gone.message, /transferred/);
  assert.match(told.tensor.message, /transferred/);
  assert.match(told.option.message, /^softmax: causal = an object/);
  assert.match(told.unknown.message, /bias/);
});

test('an exception inside the compiled code is an error of what waits', async () => {
  const told = await evaluate(async () => {
    const one = await m.init({ backend: 'gpu' });
    const { queue } = one.device;
    queue.submit = () => {
      throw new Error('broken here');
    };
    return failing(() => one.relu(Float32Array.of(-1, 2)));
  }, undefined, /broken here/);
  assert.match(told.message, /broken here/);
});

test('a WebGPU without adapterInfo is not taken, and the page hears why', async () => {
  const told = await evaluate(async () => {
    const had = Object.getOwnPropertyDescriptor(GPUDevice.prototype, 'adapterInfo');
    delete GPUDevice.prototype.adapterInfo;
    try {
      const wa = await m.init();
      const adapter = await navigator.gpu.requestAdapter();
      const device = await adapter.requestDevice();
      return [wa.kind, wa.describe(), await failing(() => m.init({ backend: 'gpu' })), await failing(() => m.init({ device }))];
    } finally {
      Object.defineProperty(GPUDevice.prototype, 'adapterInfo', had);
    }
  });
  assert.equal(told[0], 'cpu');
  assert.match(told[1], /^cpu: .*; .*adapterInfo/);
  for (const error of told.slice(2)) assert.equal(error.code, 'NoAdapter');
});

test('mistakes are errors with the library’s sentences', async () => {
  const told = await evaluate(async () => {
    const x = Float32Array.of(1, 2);
    return Promise.all([
      failing(() => wa.apply('gelo', x)),
      failing(() => wa.elu(x, { alpha: 'two' })),
      failing(() => wa.elu(x, { slope: 1 })),
      failing(() => wa.softmax(x, { axis: 2 })),
      failing(() => wa.softmax(x, { shape: [3] })),
      failing(() => wa.grad('gelu', x)),
      failing(() => wa.cross_entropy([x, [7]], { shape: [1, 2] })),
      failing(() => wa.gelu('1, 2')),
      failing(() => wa.chain('gelu | nothing')),
      failing(() => m.init({ backend: 'tpu' })),
      failing(() => wa.softmax(x, { shape: 4 })),
      failing(() => wa.softmax(x, { shape: [-2] })),
      failing(() => wa.softmax(x, 4)),
      failing(() => wa.tensor(x, [2]).grad('relu')),
      failing(() => wa.tensor(x, [2]).apply('softmax', { shape: [1, 2] })),
      failing(() => wa.chain('gelu')(x, { axis: 0 })),
      failing(() => wa.cross_entropy([x, [2 ** 32]], { shape: [1, 2] })),
      failing(() => wa.cross_entropy([x, [1e300]], { shape: [1, 2] })),
      failing(() => wa.softmax(x, { lengths: [1.5] })),
      failing(() => wa.softmax(x, { lengths: Int32Array.of(-1) })),
      failing(() => wa.softmax(x, { mask: ['yes', 'no'] })),
      failing(() => wa.relu(new Uint16Array(2))),
      failing(() => wa.relu({ data: x, dtype: 'bf16' })),
      failing(() => wa.grad('gelu', x, x, { dy: x })),
    ]);
  });
  const words = ['did you mean gelu', 'alpha is a number', "no parameter 'slope'", 'axis 2 is out of range',
    '2 elements', 'takes dy', '7', 'is no array', 'nothing', "no backend is called 'tpu'", 'a shape is a list',
    'a shape is a list', 'options are an object', 'takes dy', 'shape', 'axis', '4294967296', 'no class', '1.5 is no length',
    '-1 is no length', 'booleans or numbers', 'Uint16Array', 'bf16', 'dy'];
  assert.equal(told.length, words.length);
  told.forEach((error, i) => {
    assert.equal(error?.name, 'ActivationsError', words[i]);
    assert.ok(error.message.includes(words[i]), `${error.message} lacks ${words[i]}`);
    assert.ok(error.code.length > 3);
  });
});

test('a shader that the browser refuses is an error of the call it is for, and of no other', async () => {
  const told = await evaluate(async () => {
    // One that has compiled nothing yet.
    const wa = await m.init({ backend: 'gpu' });
    const spoil = async (work) => {
      const { device } = wa;
      const make = GPUDevice.prototype.createShaderModule;
      device.createShaderModule = (descriptor) => {
        // Every module defines it; one of them calls it.
        const is = descriptor.code.match(/\bhardshrink\(/g).length > 1;
        return make.call(device, is ? { ...descriptor, code: `${descriptor.code}\nfn broken( {` } : descriptor);
      };
      try {
        return await work();
      } finally {
        delete device.createShaderModule;
      }
    };
    const x = Float32Array.of(-2, 2);
    return spoil(async () => {
      const good = wa.apply('relu6', x);
      const bad = failing(() => wa.apply('hardshrink', x));
      const other = wa.apply('relu', x);
      const t = wa.tensor(x, [2]);
      const wrong = t.apply('hardshrink', { lambd: 0.25 });
      const of = wrong.apply('relu');
      const beside = t.apply('relu');
      return {
        good: Array.from(await good),
        bad: await bad,
        other: Array.from(await other),
        read: await failing(() => wrong.read()),
        again: await failing(() => wrong.read()),
        of: await failing(() => of.read()),
        beside: Array.from(await beside.read()),
      };
    });
  }, undefined, /broken|hardshrink|Invalid|expected|parsing/i);
  assert.deepEqual([told.good, told.other, told.beside], [[0, 2], [0, 2], [0, 2]]);
  for (const error of [told.bad, told.read, told.again, told.of]) {
    assert.equal(error?.code, 'Device', JSON.stringify(told));
  }
});

test('masks, lengths and labels stay on the device', async () => {
  const told = await evaluate(async () => {
    const x = Float32Array.from({ length: 12 }, (_, i) => Math.sin(i) * 3);
    const shape = [3, 4];
    const t = wa.tensor(x, shape);
    const keep = [1, 0, 1, 1];
    const [mask, lengths] = [await wa.mask(keep), await wa.lengths([1, 4, 2])];
    const bias = Float32Array.of(0.5, -1, 2, 0);
    const classes = [3, 0, 1];
    const weight = Float32Array.of(1, 2, 0.5, 1);
    const loss = { axis: -1, label_smoothing: 0.25, reduction: 'sum' };
    const labels = await wa.labels('cross_entropy', classes, shape, loss);
    const shares = Float32Array.from({ length: 12 }, (_, i) => (i % 4) / 6);
    const soft = await wa.labels('cross_entropy', shares, shape, { axis: -1 });
    const pairs = [
      [t.apply('softmax', { axis: -1, mask }), await wa.softmax(x, { shape, axis: -1, mask: keep })],
      [t.apply('softmax', { axis: -1, lengths }), await wa.softmax(x, { shape, axis: -1, lengths: [1, 4, 2] })],
      [
        t.apply('log_softmax', { axis: -1, mask, bias: wa.tensor(bias) }),
        await wa.log_softmax(x, { shape, axis: -1, mask: keep, bias }),
      ],
      [
        t.grad('softmax', x, { axis: -1, mask }),
        await wa.grad('softmax', x, x, { shape, axis: -1, mask: keep }),
      ],
      [t.apply('cross_entropy', loss, labels), await wa.cross_entropy([{ data: x, shape }, classes], loss)],
      [
        t.grad('cross_entropy', Float32Array.of(2), loss, labels),
        await wa.grad('cross_entropy', [{ data: x, shape }, classes], Float32Array.of(2), loss),
      ],
      [
        t.apply('cross_entropy', { ...loss, weight }, await wa.labels('cross_entropy', classes, shape, { ...loss, weight })),
        await wa.cross_entropy([{ data: x, shape }, classes], { ...loss, weight }),
      ],
      [
        t.apply('cross_entropy', { axis: -1 }, soft),
        await wa.cross_entropy([{ data: x, shape }, { data: shares, shape }], { axis: -1 }),
      ],
      [
        t.apply('binary_cross_entropy_with_logits', { pos_weight: weight }, wa.tensor(shares, shape)),
        await wa.binary_cross_entropy_with_logits([{ data: x, shape }, { data: shares, shape }], { pos_weight: weight }),
      ],
    ];
    const same = [];
    for (const [on, of] of pairs) same.push([Array.from(await on.read()), Array.from(of)]);
    const errors = [
      await failing(() => wa.labels('cross_entropy', [4, 0, 0], shape, { axis: -1 })),
      await failing(() => wa.labels('relu', classes, shape)),
      await failing(() => t.apply('cross_entropy', { axis: -1, ignore_index: 0 }, labels)),
      await failing(() => t.apply('softmax', { axis: -1, mask: keep })),
      await failing(() => t.apply('softmax', { axis: -1, nothing: mask })),
      await failing(() => cpu.mask(keep)),
    ];
    mask.dispose();
    errors.push(await failing(() => t.apply('softmax', { axis: -1, mask })));
    return { same, errors, shapes: [labels.shape, soft.shape, lengths.shape] };
  });
  for (const [i, [on, of]] of told.same.entries()) assert.deepEqual(on, of, `pair ${i}`);
  assert.deepEqual(told.shapes, [[3], [3, 4], [3]]);
  const [range, none, other, array, unknown, host, disposed] = told.errors;
  assert.equal(range.code, 'TargetOutOfRange');
  assert.match(none.message, /labels/);
  assert.equal(other.code, 'OtherLabels');
  assert.match(array.message, /mask of softmax is on the device beside tensors/);
  assert.match(unknown.message, /nothing/);
  assert.equal(host.code, 'NoAdapter');
  assert.equal(disposed.code, 'Disposed');
});

test('tensors stay on the device, and buffers go both ways', async () => {
  const told = await evaluate(async () => {
    const { device } = wa;
    const x = Float32Array.of(-1, 0.5, 2, 3);
    const t = wa.tensor(x, [2, 2]);
    const y = t.apply('relu').apply('softmax', { axis: -1 });
    const gate = t.apply('swiglu', {}, wa.tensor(Float32Array.of(1, 1, 1, 1), [2, 2]));
    const dx = t.grad('relu', Float32Array.of(1, 2, 3, 4));
    const halves = t.grad('glu', Float32Array.of(1, 1));
    const buffer = device.createBuffer({ size: 64, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
    device.queue.writeBuffer(buffer, 0, x);
    const own = wa.fromBuffer(buffer, [4]);
    const first = Array.from(await own.apply('relu').read());
    device.queue.writeBuffer(buffer, 0, Float32Array.of(5));
    const second = Array.from(await own.apply('relu').read());
    // Their buffers are of the device: other work takes them.
    const encoder = device.createCommandEncoder();
    const to = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    encoder.copyBufferToBuffer(t.apply('relu').gpuBuffer, 0, to, 0, 16);
    device.queue.submit([encoder.finish()]);
    await to.mapAsync(GPUMapMode.READ);
    const copied = Array.from(new Float32Array(to.getMappedRange()));
    own.dispose();
    // It stays the caller's.
    device.queue.writeBuffer(buffer, 0, x);
    const small = device.createBuffer({ size: 8, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
    const plain = device.createBuffer({ size: 64, usage: GPUBufferUsage.COPY_SRC });
    const errors = [
      await failing(() => wa.fromBuffer(small, [4])),
      await failing(() => wa.fromBuffer(plain, [4])),
      await failing(() => wa.fromBuffer({}, [4])),
      await failing(() => wa.tensor(x, [3])),
      await failing(() => own.read()),
      await failing(() => cpu.tensor(x, [4])),
    ];
    const adapter = await navigator.gpu.requestAdapter();
    const mine = await m.init({ device: await adapter.requestDevice() });
    const adopted = [mine.kind, mine.describe(), Array.from(await mine.relu(x)), typeof navigator.gpu.requestAdapter];
    mine.dispose();
    // What a page has put there itself stays.
    Object.defineProperty(navigator, 'gpu', { value: navigator.gpu, configurable: true });
    device.createBuffer = GPUDevice.prototype.createBuffer;
    (await m.init({ device: await (await navigator.gpu.requestAdapter()).requestDevice() })).dispose();
    wa.fromBuffer(buffer, [4]).dispose();
    const kept = [Object.hasOwn(navigator, 'gpu'), Object.hasOwn(device, 'createBuffer')];
    delete navigator.gpu;
    delete device.createBuffer;
    kept.push(typeof navigator.gpu);
    return {
      y: Array.from(await y.read()), shape: (await y.read()).shape, dx: Array.from(await dx.read()), halves: halves.shape,
      gate: Array.from(await gate.read()), first, second, copied, errors, adopted, kept, disposed: await failing(() => mine.relu(x)),
    };
  });
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const near = (got, want) => got.forEach((g, i) => assert.ok(Math.abs(g - want[i]) <= 3e-7, `${got} not ${want}`));
  near(told.y, [sigmoid(-0.5), sigmoid(0.5), sigmoid(-1), sigmoid(1)]);
  assert.deepEqual(told.shape, [2, 2]);
  assert.deepEqual(told.dx, [0, 2, 3, 4]);
  assert.deepEqual(told.halves, [2, 2]);
  near(told.gate, [-1, 0.5, 2, 3].map((v) => v * sigmoid(1)));
  assert.deepEqual([told.first, told.second], [[0, 0.5, 2, 3], [5, 0.5, 2, 3]]);
  assert.deepEqual(told.copied, [0, 0.5, 2, 3]);
  assert.deepEqual(told.errors.map((error) => error?.code), ['BufferTooSmall', 'BufferUsage', 'BufferUsage', 'LengthMismatch', 'Disposed', 'NoAdapter']);
  assert.equal(told.adopted[0], 'gpu');
  assert.match(told.adopted[1], /the caller's device/);
  assert.deepEqual([told.adopted[2], told.adopted[3]], [[0, 0.5, 2, 3], 'function']);
  assert.deepEqual(told.kept, [true, true, 'object']);
  assert.equal(told.disposed.code, 'Disposed');
});

test('thousands of submissions that nobody reads leave the device as it was', async () => {
  const last = await evaluate(async () => {
    let t = wa.tensor(Float32Array.of(1, 2), [2]);
    for (let i = 0; i < 3000; i++) {
      const next = t.apply('relu');
      t.dispose();
      t = next;
      if (i % 500 === 0) await new Promise((resolve) => setTimeout(resolve));
    }
    return Array.from(await t.read());
  });
  assert.deepEqual(last, [1, 2]);
});

test('the adapter is asked, and functions are held against the f64 reference', async () => {
  const told = await evaluate(async () => {
    const steps = [];
    const self = await wa.selfCheck();
    const rows = await wa.check({
      functions: ['tanh', 'softmax', 'sparsemax'],
      onProgress: (done, total, name) => steps.push([done, total, name]),
    });
    const controller = new AbortController();
    const aborted = failing(() => wa.check({ signal: controller.signal, onProgress: () => controller.abort() }));
    let begun = 0;
    const before = failing(() => wa.check({ signal: AbortSignal.abort(), onProgress: () => begun++ }));
    return { self, rows, steps, aborted: (await aborted)?.name, before: [(await before)?.name, begun], unknown: await failing(() => wa.check({ functions: ['gelo'] })) };
  });
  assert.ok(told.self.right > 100 && told.self.wrong === 0, JSON.stringify(told.self.findings.filter((f) => !f.right)));
  const bad = told.rows.filter((row) => !row.ok);
  assert.deepEqual(bad, []);
  assert.ok(told.rows.length >= 7 && told.rows.some((row) => row.worstUlp > 0.3 && row.inputs > 100_000));
  assert.equal(told.steps.length, told.steps[0][1]);
  assert.equal(told.aborted, 'AbortError');
  assert.deepEqual(told.before, ['AbortError', 0]);
  assert.match(told.unknown.message, /gelo/);
});

test('a report has something of each kind; `cargo xtask web` gives it to its devices chore', async () => {
  const report = await evaluate(() => wa.report({ seconds: 1, shape: [64, 64] }));
  assert.equal(report.format, 'activations report, 1');
  const [adapter] = report.adapters;
  const [found] = report.backends;
  assert.match(adapter.name, /swiftshader/i);
  assert.deepEqual([adapter.index, adapter.backend, adapter.self_check.passed], [0, 'webgpu', true]);
  assert.deepEqual([found.adapter, found.error, found.passed], [0, null, true]);
  assert.ok(found.rates.length > 0 && found.check.length > 0, JSON.stringify(found.left_out.slice(0, 5)));
  for (const rate of found.rates) assert.ok(rate.median_gb_per_s > 0 && rate.share_of_copy > 0);
  for (const check of found.check) assert.ok(check.passed && check.max_ulp <= check.bound);
  assert.ok(found.left_out.length > 0);
  assert.ok(report.system.threads > 0 && report.system.architecture.startsWith('wasm32 in '));
  fs.writeFileSync(path.join(process.env.ACTIVATIONS_WEB, 'report.json'), JSON.stringify(report));
});

test('a worker computes', async () => {
  const told = await evaluate(async () => {
    const text = `
      import { init } from '${location.origin}/wgpu-activations/index.js';
      const wa = await init({ backend: 'gpu' });
      postMessage([wa.kind, Array.from(await wa.relu(Float32Array.of(-1, 2)))]);`;
    const worker = new Worker(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })), { type: 'module' });
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message ?? 'the worker failed'));
    });
  });
  assert.deepEqual(told, ['gpu', [0, 2]]);
});

test('a lost device is an error, and the next one computes', async () => {
  const told = await evaluate(async () => {
    const one = await m.init({ backend: 'gpu' });
    const x = Float32Array.of(-1, 2);
    const t = one.tensor(x, [2]);
    await one.relu(x);
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice();
    const adopted = await m.init({ device });
    await adopted.relu(x);
    const under = failing(() => one.gelu(new Float32Array(1 << 16)));
    one.device.destroy();
    device.destroy();
    const errors = [
      await under,
      await failing(() => one.relu(x)),
      await failing(() => t.apply('relu').read()),
      await failing(() => one.selfCheck()),
      await failing(() => adopted.relu(x)),
    ];
    const next = await m.init({ backend: 'gpu' });
    return { errors, next: Array.from(await next.relu(x)) };
  }, undefined, /destroyed|lost/i);
  // What was under way may have ended before.
  const [under, ...later] = told.errors;
  if (under) assert.equal(under.code, 'DeviceLost', under.message);
  for (const error of later) assert.equal(error?.code, 'DeviceLost', JSON.stringify(told.errors));
  assert.deepEqual(told.next, [0, 2]);
});

test('without WebGPU the CPU computes, and says why', async () => {
  const other = await launch(WITHOUT);
  const page = await open(other);
  try {
    const told = await page.page.evaluate(async () => {
      const m = await import('/wgpu-activations/index.js');
      const wa = await m.init();
      const error = await m.init({ backend: 'gpu' }).catch((error) => ({ code: error.code, message: error.message }));
      const x = Float32Array.of(-1, 2);
      const check = await wa.check({ functions: ['relu'] });
      const report = await wa.report({ seconds: 0 });
      return {
        kind: wa.kind, says: wa.describe(), y: Array.from(await wa.relu(x)), error, device: wa.device === undefined,
        ok: check.every((row) => row.ok), adapter: report.backends[0].adapter, self: (await wa.selfCheck()).findings,
      };
    });
    assert.equal(told.kind, 'cpu');
    assert.match(told.says, /^cpu: .*no GPU adapter/);
    assert.deepEqual(told.y, [0, 2]);
    assert.equal(told.error.code, 'NoAdapter');
    assert.deepEqual([told.device, told.ok, told.adapter, told.self], [true, true, null, []]);
    const unexpected = page.said.filter((line) => !/WebGPU|adapter/i.test(line));
    assert.deepEqual(unexpected, []);
  } finally {
    await page.close();
    await other.close();
  }
});
