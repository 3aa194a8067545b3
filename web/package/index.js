// What users of the package call; native.js is the compiled library.

import start, * as native from './native.js';

/** An error of the library, with its sentence; `code` is the name of its kind, as in Rust. */
export class ActivationsError extends Error {
  constructor(message, code, options) {
    super(message, options);
    this.name = 'ActivationsError';
    this.code = code;
  }
}

const FAULT = 'wgpu-activations has a fault, please report it';

/** What waits for the compiled code: it waits for ever where that panics. */
const waiting = new Set();
let panic;

function panicked(text) {
  panic = `${FAULT}: ${text}`;
  const error = new ActivationsError(panic, 'Fault');
  for (const reject of waiting) reject(error);
  waiting.clear();
}

/** This module's folder, or the bundle's, as stacks name it. */
const HOME = import.meta.url.slice(0, import.meta.url.lastIndexOf('/') + 1);

/** An error that nobody caught: one that passed through the compiled code left its promise open. */
function uncaught(error) {
  if (!waiting.size) return;
  const stack = String(error?.stack ?? '');
  const compiled = /wasm-function|\.wasm|wasm:\/\//.test(stack);
  if (compiled && (error instanceof WebAssembly.RuntimeError || stack.includes(HOME))) {
    const fault = new ActivationsError(`${FAULT}: ${error.message}`, 'Fault', { cause: error });
    for (const reject of waiting) reject(fault);
    waiting.clear();
  }
}

globalThis.addEventListener?.('error', (event) => uncaught(event.error));
globalThis.process?.on?.('uncaughtExceptionMonitor', uncaught);

function raised(error) {
  if (error instanceof ActivationsError) return error;
  if (error instanceof WebAssembly.RuntimeError) {
    return new ActivationsError(panic ?? `${FAULT}: ${error.message}`, 'Fault', { cause: error });
  }
  const code = typeof error?.code === 'string' ? error.code : 'Inputs';
  return new ActivationsError(error?.message ?? String(error), code, { cause: error });
}

/** The result of a call of the compiled code, with its errors as the package's. */
function now(call) {
  try {
    return call();
  } catch (error) {
    throw raised(error);
  }
}

/** The same of a call that gives a promise. */
function later(call) {
  return new Promise((resolve, reject) => {
    waiting.add(reject);
    const done = (settle) => (value) => {
      waiting.delete(reject);
      settle(value);
    };
    try {
      call().then(done(resolve), done((error) => reject(raised(error))));
    } catch (error) {
      done((error) => reject(raised(error)))(error);
    }
  });
}

let loading;

/** Loads the compiled library once, whatever it is loaded from. */
async function load(wasm) {
  loading ??= (async () => {
    let source = wasm ?? new URL('native_bg.wasm', import.meta.url);
    if (source instanceof URL && source.protocol === 'file:') {
      // Node's fetch reads no files. Bundlers for browsers must not look for this module.
      const files = 'node:fs/promises';
      const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ files);
      source = await readFile(source);
    }
    await start({ module_or_path: source });
    native.onPanic(panicked);
    return native.functions().map((info) => ({
      ...info,
      inputs: info.forms[0],
      differentiable: info.forms[0].some((input) => input.differentiable),
    }));
  })();
  try {
    return await loading;
  } catch (error) {
    // The next call may find the file.
    loading = undefined;
    throw new ActivationsError(`the compiled library does not load: ${error?.message ?? error}`, 'Load', {
      cause: error,
    });
  }
}

const wrong = (message, code = 'Inputs') => new ActivationsError(message, code);

const isTyped = (x) => ArrayBuffer.isView(x) && !(x instanceof DataView);
const Half = globalThis.Float16Array;

/** The name of a typed array's type, of another window's array as well. */
const typeOf = (x) => x[Symbol.toStringTag];

/** The words of the types of elements, by what holds them. */
const DTYPES = new Map([
  ['Float32Array', 'f32'],
  ['Float16Array', 'f16'],
  ['Uint8Array', 'u8'],
  ['Uint8ClampedArray', 'u8'],
  ['Uint32Array', 'u32'],
  ['Int32Array', 'i32'],
  ['BigInt64Array', 'i64'],
]);

/** Bits of 16-bit numbers. */
const bitsOf = (x) => new Uint16Array(x.buffer, x.byteOffset, x.length);

function isDetached({ buffer }) {
  try {
    return !new Uint8Array(buffer, 0, 0);
  } catch {
    return true;
  }
}

/** Elements of a mask: whatever is not 0 is in it. */
function masked(list, what) {
  return Uint8Array.from(list, (x) => {
    if (!['boolean', 'number', 'bigint'].includes(typeof x)) throw wrong(`${what} is no array of booleans or numbers`);
    // A 0 may be a bigint.
    return x != 0 ? 1 : 0;
  });
}

function counted(list, what) {
  return Uint32Array.from(list, (x) => {
    const number = Number(x);
    if (Number.isInteger(number) && number >= 0 && number < 2 ** 32) return number;
    throw wrong(`${what}: ${String(x)} is no length; a length is a whole number, 0 or more`);
  });
}

/** The array that a list of numbers is for an input of a kind. */
function listed(list, kind, what) {
  const flat = list.flat(Infinity);
  if (kind === 'mask') return masked(flat, what);
  if (kind === 'lengths') return counted(flat, what);
  if (!flat.every((x) => typeof x === 'number')) throw wrong(`${what} is no array of numbers`);
  // Targets that are no whole numbers are probabilities.
  if (kind !== 'targets' || !flat.every(Number.isInteger)) return Float32Array.from(flat);
  if (flat.every((x) => x === (x | 0))) return Int32Array.from(flat);
  const far = flat.find((x) => !Number.isSafeInteger(x));
  if (far !== undefined) throw wrong(`${what}: ${far} is no class`);
  // The library says which classes there are.
  return BigInt64Array.from(flat, BigInt);
}

/** The lengths of a list of lists. */
function lengths(list) {
  const shape = [];
  for (let inner = list; Array.isArray(inner); [inner] = inner) shape.push(inner.length);
  return shape;
}

/** A shape as a list, or none. */
function axes(shape) {
  if (shape === undefined || shape === null) return undefined;
  const list = Array.isArray(shape) || isTyped(shape) ? Array.from(shape, Number) : [-1];
  if (list.every((length) => Number.isInteger(length) && length >= 0)) return list;
  throw wrong('a shape is a list of whole numbers, 0 or more, as in [2, 3]', 'Shape');
}

const count = (shape) => shape.reduce((a, b) => a * b, 1);
const same = (a, b) => a?.length === b?.length && a?.every((length, i) => length === b[i]);

/** An argument as the compiled code takes it: { dtype, data, shape }. */
function array(given, kind, what) {
  if (given instanceof Result16) given = given.given();
  let { data, shape, dtype } = isTyped(given) || Array.isArray(given) ? { data: given } : (given ?? {});
  shape ??= given?.shape ?? data?.shape;
  if (Array.isArray(data)) {
    shape ??= Array.isArray(data[0]) ? lengths(data) : undefined;
    data = listed(data, kind, what);
  }
  if (!isTyped(data)) throw wrong(`${what} is no array; give a Float32Array, another typed array, or { data, shape }`);
  if (isDetached(data)) throw wrong(`${what} has no memory any more: its buffer was transferred`);
  const type = typeOf(data);
  const bits = type === 'Uint16Array' && (dtype === 'f16' || dtype === 'bf16');
  if (dtype !== undefined && !bits && dtype !== DTYPES.get(type)) {
    throw wrong(`${what} is a ${type}, and its dtype ${String(dtype)}; 16-bit numbers are in a Uint16Array`, 'UnknownDType');
  }
  dtype ??= DTYPES.get(type);
  if (type === 'Float16Array') data = bitsOf(data);
  if (type === 'Float64Array') [data, dtype] = [Float32Array.from(data), 'f32'];
  // A mask or lengths of numbers of another type are the same.
  if (kind === 'mask' && dtype !== 'u8') [data, dtype] = [masked(data, what), 'u8'];
  if (kind === 'lengths' && dtype !== 'u32') [data, dtype] = [counted(data, what), 'u32'];
  if (!dtype) throw wrong(`${what} is a ${type}; it takes a Float32Array`, 'UnknownDType');
  return { dtype, data, shape: axes(shape) };
}

/**
 * Gives a call's arrays the shape that its options have: it is the first array's, and that of others that had
 * the first's, or have as many elements and no shape of their own.
 */
function reshape(shape, [first, ...others]) {
  const lengths = axes(shape);
  if (!lengths || !first) return;
  const elements = count(lengths);
  for (const one of others) {
    if (one?.data.length === elements && (!one.shape || same(one.shape, first.shape))) one.shape = lengths;
  }
  first.shape = lengths;
}

/** The options of a call, checked to be some. */
function optionsOf(options) {
  if (options === undefined || options === null) return {};
  if (typeof options === 'object' && !Array.isArray(options) && !isTyped(options)) return options;
  throw wrong('options are an object, as in { axis: -1 }', 'Options');
}

/** Puts a result's shape beside its numbers. */
function shaped(data, shape) {
  return Object.defineProperty(data, 'shape', { value: Object.freeze(shape), enumerable: false });
}

/** 16-bit numbers where the browser has no array of them. */
export class Result16 {
  constructor(bits, dtype, shape) {
    this.bits = bits;
    this.dtype = dtype;
    this.shape = Object.freeze(shape);
    Object.freeze(this);
  }

  /** As an argument of another call. */
  given() {
    return { data: this.bits, dtype: this.dtype, shape: this.shape };
  }
}

function result({ dtype, data, shape }) {
  if (dtype === 'f32') return shaped(data, shape);
  if (dtype === 'f16' && Half) return shaped(new Half(data.buffer), shape);
  return new Result16(data, dtype, shape);
}

class Tensor {
  #owner;
  #native;

  constructor(owner, made) {
    this.#owner = owner;
    this.#native = made;
    this.shape = Object.freeze(made.shape());
  }

  static {
    Tensor.nativeOf = (tensor) => {
      if (!(tensor instanceof Tensor)) throw wrong('this is no tensor');
      if (!tensor.#native) throw wrong('the tensor was disposed of', 'Disposed');
      return tensor.#native;
    };
  }

  /**
   * The options of a call, the arrays on the device that others and options are, by their names where those may be
   * missing, and the arrays in memory among them.
   */
  #asked(name, options, others) {
    const { rest, kept, weights } = divided(name, options);
    const share = (value, input) => (value instanceof DeviceArray ? DeviceArray : Tensor).nativeOf(value).share(name, input);
    // They are gone behind the call, so that they are made last.
    const shared = () => [...others.map((other) => share(other)), ...kept.map(([input, value]) => share(value, input))];
    return [rest, shared, weights];
  }

  #apply(name, options, others) {
    const made = Tensor.nativeOf(this);
    const [rest, kept, weights] = this.#asked(name, options, others);
    return now(() => made.apply(name, rest, kept(), weights));
  }

  apply(name, options, ...others) {
    return new Tensor(this.#owner, this.#apply(name, options, others));
  }

  /** The shape of a gradient that is given without one: the result's. */
  #upstream(dy, name, options, others) {
    if (dy.shape || dy.length === count(this.shape)) return dy.shape ?? this.shape;
    const result = this.#apply(name, options, others);
    const shape = result.shape();
    result.free();
    return shape;
  }

  grads(name, dy, options, ...others) {
    const made = Tensor.nativeOf(this);
    if (dy === undefined || dy === null) {
      throw wrong("a gradient takes dy, the gradient of what is made of the result, of the result's shape");
    }
    const given = dy instanceof Tensor ? dy : this.#owner.tensor(dy, this.#upstream(dy, name, options, others));
    try {
      const upstream = Tensor.nativeOf(given);
      const [rest, kept, weights] = this.#asked(name, options, others);
      const all = now(() => made.grads(name, rest, kept(), weights, upstream));
      return all.map((one) => new Tensor(this.#owner, one));
    } finally {
      if (given !== dy) given.dispose();
    }
  }

  grad(name, dy, options, ...others) {
    const [first, ...rest] = this.grads(name, dy, options, ...others);
    for (const one of rest) one.dispose();
    return first;
  }

  async read() {
    const made = Tensor.nativeOf(this);
    return shaped(await later(() => made.read()), [...this.shape]);
  }

  get gpuBuffer() {
    return Tensor.nativeOf(this).buffer();
  }

  dispose() {
    this.#native?.free();
    this.#native = undefined;
  }

  [Symbol.dispose ?? Symbol('dispose')]() {
    this.dispose();
  }
}

/** A mask, lengths or labels on the device. */
class DeviceArray {
  #native;

  constructor(made) {
    this.#native = made;
    this.shape = Object.freeze(made.shape());
  }

  static {
    DeviceArray.nativeOf = (kept) => {
      if (!kept.#native) throw wrong('the array was disposed of', 'Disposed');
      return kept.#native;
    };
  }

  dispose() {
    this.#native?.free();
    this.#native = undefined;
  }

  [Symbol.dispose ?? Symbol('dispose')]() {
    this.dispose();
  }
}

/** Options of a function, as the compiled code takes them. */
const pairs = (entries) => entries.filter(([, value]) => value !== undefined && value !== null);

/** The options of a call on the device: arrays that are there, arrays in memory, and the rest. */
function divided(name, options) {
  const entries = pairs(Object.entries(optionsOf(options)));
  const isKept = (value) => value instanceof Tensor || value instanceof DeviceArray;
  const isArray = (value) => [value, value.data].some((one) => isTyped(one) || Array.isArray(one));
  const kind = ([, value]) => (isKept(value) ? 'kept' : isArray(value) ? 'weights' : 'rest');
  const of = (which) => entries.filter((entry) => kind(entry) === which);
  const weights = of('weights').map(([input, value]) => [input, array(value, 'numbers', `${name}: ${input}`)]);
  return { rest: of('rest'), kept: of('kept'), weights };
}

const spelled = (name) => name.trim().toLowerCase().replaceAll('-', '_');

class Activations {
  #native;
  #infos;
  #byName = new Map();
  /** Why the CPU computes, where that is not the library's choice. */
  #why;

  constructor(opened, infos, why) {
    this.#native = opened;
    this.#infos = infos;
    this.#why = why;
    for (const info of infos) {
      for (const name of [info.name, ...info.aliases]) this.#byName.set(name, info);
      // A function of the library's never takes the place of a method.
      if (!(info.name in this)) {
        const call = (x, options) => this.apply(info.name, x, options);
        Object.defineProperty(this, info.name, { value: Object.defineProperty(call, 'name', { value: info.name }) });
      }
    }
  }

  #opened() {
    if (!this.#native) throw new ActivationsError('dispose was called', 'Disposed');
    return this.#native;
  }

  get kind() {
    return this.#opened().kind();
  }

  get device() {
    return this.#opened().device();
  }

  describe() {
    const told = this.#opened().describe();
    return this.#why ? `${told.split('; ')[0]}; ${this.#why}` : told;
  }

  functions() {
    return structuredClone(this.#infos);
  }

  /** The arrays of a call, in pairs with their names, and what is left of the options. */
  #arrays(name, inputs, options) {
    const { shape, ...others } = optionsOf(options);
    const info = this.#byName.get(spelled(name));
    const forms = info?.forms ?? [];
    const known = new Set(forms.flat().map((input) => input.name));
    const given = pairs(Object.entries(others));
    const named = new Map(given.filter(([key]) => known.has(key)));
    const list = Array.isArray(inputs) && inputs.length > 0 && typeof inputs[0] !== 'number' && !Array.isArray(inputs[0]);
    const positions = list ? inputs : [inputs];
    const required = (form) => form.filter((input) => !input.optional);
    // The form that has all that is named, and takes as many others as are given.
    const has = (form) => [...named.keys()].every((key) => form.some((input) => input.name === key));
    const left = (form) => required(form).filter((input) => !named.has(input.name));
    const form =
      forms.find((form) => has(form) && left(form).length === positions.length) ?? forms.find(has) ?? forms[0] ?? [];
    const places = left(form);
    const made = new Map(positions.map((one, i) => {
      const input = places[i];
      const what = `${name}: ${input?.name ?? `input ${i + 1}`}`;
      return [input?.name ?? i, array(one, input?.kind ?? 'numbers', what)];
    }));
    for (const input of form) {
      if (named.has(input.name)) made.set(input.name, array(named.get(input.name), input.kind, `${name}: ${input.name}`));
    }
    // In the form's order; what is too much behind it, and the library says so.
    const order = [...required(form), ...form.filter((input) => input.optional)].map((input) => input.name);
    const place = ([key]) => (order.includes(key) ? order.indexOf(key) : order.length);
    const arrays = [...made].sort((a, b) => place(a) - place(b)).map(([key, one]) => [String(key), one]);
    const rest = given.filter(([key]) => !form.some((input) => input.name === key));
    return { arrays, rest, shape };
  }

  async #run(what, name, inputs, dy, options) {
    const opened = this.#opened();
    const { arrays, rest, shape } = this.#arrays(name, inputs, options);
    const upstream = dy === undefined || dy === null ? undefined : array(dy, 'numbers', `${name}: dy`);
    // A dy without a shape has the result's, which may have as many elements.
    reshape(shape, [...arrays.map(([, one]) => one), ...(upstream?.shape ? [upstream] : [])]);
    const all = await later(() => opened.run(what, name, rest, arrays, upstream));
    return all.map(result);
  }

  async apply(name, inputs, options) {
    return (await this.#run('value', name, inputs, undefined, options))[0];
  }

  async grads(name, inputs, dy, options) {
    return this.#run('gradients', name, inputs, dy, options);
  }

  async grad(name, inputs, dy, options) {
    return (await this.grads(name, inputs, dy, options))[0];
  }

  async gradFromOutput(name, y, dy, options) {
    return (await this.#run('from_output', name, y, dy, options))[0];
  }

  async applyWithGrad(name, inputs, options) {
    return this.#run('both', name, inputs, undefined, options);
  }

  chain(text) {
    const [told, operands] = now(() => native.chain(text));
    const run = async (x, given, dy) => {
      const { shape, operands = [], ...rest } = optionsOf(given);
      const [unknown] = Object.keys(rest);
      if (unknown) throw wrong(`a chain takes shape and operands, and ${unknown} was given: a step has it in the text`, 'Options');
      const opened = this.#opened();
      const input = array(x, 'numbers', `${told}: x`);
      const others = Array.from(operands, (operand, i) => array(operand, 'numbers', `${told}: operand ${i + 1}`));
      const upstream = dy === undefined || dy === null ? undefined : array(dy, 'numbers', `${told}: dy`);
      reshape(shape, upstream?.shape ? [input, upstream] : [input]);
      const all = await later(() => opened.run_chain(told, input, others, upstream));
      return all.map(result);
    };
    const chain = async (x, options) => (await run(x, options))[0];
    return Object.defineProperties(chain, {
      text: { value: told },
      operands: { value: operands },
      grad: {
        value: async (x, dy, options) => {
          const [first, ...rest] = await run(x, options, dy);
          return { x: first, operands: rest };
        },
      },
    });
  }

  tensor(x, shape) {
    const opened = this.#opened();
    const { data, dtype, shape: own } = array(x, 'numbers', 'the tensor');
    if (dtype !== 'f32') throw wrong('a tensor is made of a Float32Array', 'DTypeMismatch');
    const lengths = axes(shape) ?? own ?? [data.length];
    const made = now(() => opened.empty(lengths));
    if (count(lengths) !== data.length) {
      made.free();
      const problem = `the array has ${data.length} elements where ${count(lengths)} are expected`;
      throw wrong(problem, 'LengthMismatch');
    }
    opened.device().queue.writeBuffer(made.buffer(), 0, data);
    return new Tensor(this, made);
  }

  /** An array of a kind, given without its shape or with it. */
  #kept(x, shape, kind) {
    const given = array(x, kind, `the ${kind}`);
    given.shape = axes(shape) ?? given.shape;
    return given;
  }

  async mask(keep, shape) {
    const opened = this.#opened();
    const given = this.#kept(keep, shape, 'mask');
    return new DeviceArray(await later(() => opened.mask(given)));
  }

  async lengths(counts, shape) {
    const opened = this.#opened();
    const given = this.#kept(counts, shape, 'lengths');
    return new DeviceArray(await later(() => opened.lengths(given)));
  }

  async labels(name, targets, shape, options) {
    const opened = this.#opened();
    const given = this.#kept(targets, undefined, 'targets');
    const { rest, weights } = divided(name, options);
    const logits = axes(shape);
    return new DeviceArray(await later(() => opened.labels(name, rest, weights, logits, given)));
  }

  fromBuffer(buffer, shape) {
    const opened = this.#opened();
    const lengths = axes(shape);
    return now(() => new Tensor(this, opened.tensor_of(buffer, lengths)));
  }

  async selfCheck() {
    const opened = this.#opened();
    const findings = await later(() => opened.self_check());
    const count = (which) => findings.filter((finding) => finding[which]).length;
    return { right: count('right'), wrong: count('wrong'), findings };
  }

  /** Does each step of a check, with time for the page in between. */
  async *#steps(subjects, signal, step) {
    for (let i = 0; i < subjects.count(); i++) {
      signal?.throwIfAborted();
      const opened = this.#opened();
      await breath();
      yield [i, await later(() => step(opened, i))];
    }
  }

  async check({ functions, onProgress, signal } = {}) {
    const subjects = now(() => new native.Subjects(functions));
    try {
      const rows = [];
      const count = subjects.count();
      for await (const [i, found] of this.#steps(subjects, signal, (opened, i) => subjects.check(opened, i))) {
        rows.push(...found);
        onProgress?.(i + 1, count, subjects.name(i));
      }
      signal?.throwIfAborted();
      return rows;
    } finally {
      subjects.free();
    }
  }

  async report({ seconds = 60, shape = [1024, 1024], onProgress, signal } = {}) {
    return report(this, this.#opened(), { seconds, shape, onProgress, signal });
  }

  dispose() {
    this.#native?.free();
    this.#native = undefined;
  }

  [Symbol.dispose ?? Symbol('dispose')]() {
    this.dispose();
  }
}

/** Lets the page draw and answer before more is computed. */
const breath = () => new Promise((resolve) => setTimeout(resolve));

/** What JSON has no number for is text, as in a report of `activations report`. */
function number(x) {
  if (Number.isFinite(x)) return x;
  return Number.isNaN(x) ? 'NaN' : x > 0 ? 'inf' : '-inf';
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** Uniform numbers in [-scale, scale). */
const noise = (length, scale) => Float32Array.from({ length }, () => (Math.random() * 2 - 1) * scale);

/** How long the device takes for calls, in seconds for each: as many as take 20 ms. */
async function timed(queue, call) {
  for (let calls = 1; ; calls *= 2) {
    const begin = performance.now();
    for (let i = 0; i < calls; i++) call();
    await queue.onSubmittedWorkDone();
    const ms = performance.now() - begin;
    if (ms >= 20 || calls >= 1024) return ms / calls / 1e3;
  }
}

const SAMPLES = 5;

/** The rate of a function of one tensor in one direction, beside a copy on the device. */
async function rate(wa, info, pass, x, shape) {
  const { device } = wa;
  const { queue } = device;
  const options = info.options.some((option) => option.name === 'axis') ? { axis: -1 } : {};
  const first = x.apply(info.name, options);
  const dy = wa.tensor(noise(count(first.shape), 1), first.shape);
  const call = () => (pass === 'forward' ? x.apply(info.name, options) : x.grad(info.name, dy, options)).dispose();
  const size = x.gpuBuffer.size;
  const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const to = device.createBuffer({ size, usage });
  const copy = () => {
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(x.gpuBuffer, 0, to, 0, size);
    queue.submit([encoder.finish()]);
  };
  const elements = count(shape);
  const bytes = 4 * (pass === 'forward' ? elements + count(first.shape) : 2 * elements + count(first.shape));
  try {
    // What is compiled once is no part of it; a kernel that is refused is told.
    (await first.read()).length;
    await timed(queue, call);
    const [rates, copies] = [[], []];
    for (let i = 0; i < SAMPLES; i++) {
      copies.push((2 * size) / (await timed(queue, copy)) / 1e9);
      rates.push(bytes / (await timed(queue, call)) / 1e9);
    }
    return {
      function: info.name,
      pass,
      bytes,
      median_ms: bytes / median(rates) / 1e6,
      median_gb_per_s: median(rates),
      best_gb_per_s: Math.max(...rates),
      copy_median_gb_per_s: median(copies),
      share_of_copy: median(rates.map((rate, i) => rate / copies[i])),
      one_shot_gb_per_s: pass === 'forward' && info.elementwise ? await oneShot(wa, info, elements) : null,
    };
  } finally {
    to.destroy();
    for (const tensor of [first, dy]) tensor.dispose();
  }
}

/** GB/s of calls on arrays in the page's memory. */
async function oneShot(wa, info, elements) {
  const x = noise(elements, 8);
  const rates = [];
  for (let i = 0; i < SAMPLES; i++) {
    const begin = performance.now();
    await wa.apply(info.name, x);
    rates.push((8 * elements) / (performance.now() - begin) / 1e6);
  }
  return median(rates);
}

/** What `activations report` writes, of this browser's device. */
async function report(wa, opened, { seconds, shape, onProgress, signal }) {
  const begin = performance.now();
  const end = begin + 1e3 * seconds;
  const of = (rows, pass) =>
    rows.map(({ function: name, pass, ok, inputs, worstUlp, bound, worstInput, got, want, nanMismatches }) => ({
      function: name,
      pass,
      passed: ok,
      inputs,
      max_ulp: number(worstUlp),
      bound: number(bound),
      worst_input: number(worstInput),
      got: number(got),
      want: number(want),
      nan_mismatches: nanMismatches,
    }));
  const halves = (rows) =>
    rows.map(({ function: name, pass, upstream, ok, inputs, otherWay, flushed, wrong }) => ({
      function: name,
      pass,
      upstream: upstream === undefined ? null : number(upstream),
      passed: ok,
      inputs,
      other_way: otherWay,
      flushed,
      wrong,
      worst: null,
    }));
  const found = {
    backend: wa.describe(),
    adapter: null,
    passed: true,
    error: null,
    shape,
    rates: [],
    check: [],
    upstream: [],
    f16: [],
    bf16: [],
    left_out: [],
    seconds: 0,
  };
  const adapters = [];
  const subjects = new native.Subjects();
  const all = subjects.count();
  // Of one tensor: labels are no tensor.
  const of1 = (info) => info.inputs.filter((input) => !input.optional).length === 1;
  const names = native.rated();
  const rated = wa.kind === 'gpu' ? wa.functions().filter((info) => names.includes(info.name) && of1(info)) : [];
  const with16 = Array.from({ length: all }, (_, i) => i).filter((i) => subjects.has_halves(i));
  const total = 1 + all + 2 * with16.length + 2 * rated.length;
  let done = 0;
  const step = async (name, until, work) => {
    signal?.throwIfAborted();
    if (performance.now() > until) found.left_out.push(name);
    else {
      await breath();
      await work();
    }
    onProgress?.(++done, total, name);
  };
  try {
    const adapter = opened.adapter();
    if (adapter) {
      found.adapter = 0;
      const started = performance.now();
      let check;
      await step('self-check', Infinity, async () => (check = await wa.selfCheck()));
      const passed = check.wrong === 0;
      found.passed &&= passed;
      adapters.push({
        index: 0,
        ...adapter,
        chosen: true,
        why: 'the browser gives it',
        limits: {},
        features: [...wa.device.features],
        self_check: {
          passed,
          seconds: (performance.now() - started) / 1e3,
          findings: check.findings.map(({ subject, verdict, detail }) => ({ subject, verdict, detail })),
        },
      });
    } else done++;
    const ratesEnd = performance.now() + (end - performance.now()) / 3;
    const x = rated.length ? wa.tensor(noise(count(shape), 8), shape) : undefined;
    for (const info of rated) {
      for (const pass of ['forward', 'backward']) {
        if (pass === 'backward' && !info.differentiable) {
          done++;
          continue;
        }
        const name = `rate of ${info.name} ${pass}`;
        // Something of each kind is there, however slow the device is.
        await step(name, found.rates.length ? ratesEnd : Infinity, async () => {
          try {
            found.rates.push(await rate(wa, info, pass, x, shape));
          } catch (error) {
            // A shape that the function does not take.
            if (error.code === 'DeviceLost') throw error;
            found.left_out.push(`${name}: ${error.message}`);
          }
        });
      }
    }
    x?.dispose();
    for (let i = 0; i < all; i++) {
      await step(`check of ${subjects.name(i)}`, found.check.length ? end : Infinity, async () => {
        const rows = await later(() => subjects.check(opened, i));
        found.passed &&= rows.every((row) => row.ok);
        found.check.push(...of(rows.filter((row) => row.pass !== 'any dy')));
        found.upstream.push(...of(rows.filter((row) => row.pass === 'any dy')));
      });
    }
    for (const i of with16) {
      for (const dtype of ['f16', 'bf16']) {
        await step(`check of ${subjects.name(i)} in ${dtype}`, end, async () => {
          const rows = await later(() => subjects.check_half(opened, i, dtype));
          found.passed &&= rows.every((row) => row.ok);
          found[dtype].push(...halves(rows));
        });
      }
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    found.error = raised(error).message;
    found.passed = false;
  } finally {
    subjects.free();
  }
  found.seconds = (performance.now() - begin) / 1e3;
  return {
    format: 'activations report, 1',
    version: native.version(),
    system: system(),
    adapters,
    backends: [found],
    seconds: found.seconds,
  };
}

/** The machine, as far as a browser tells it. */
function system() {
  const { userAgentData, userAgent = '', hardwareConcurrency = 1 } = globalThis.navigator ?? {};
  const brand = userAgentData?.brands?.find(({ brand }) => !/not.?a.?brand/i.test(brand));
  const browser = brand
    ? `${brand.brand} ${brand.version}`
    : (/(Firefox|Edg|Chrome|Version)\/[\d]+/.exec(userAgent)?.[0].replace('Version', 'Safari').replace('/', ' ') ?? 'a browser');
  const os = userAgentData?.platform || /Windows|Android|iPhone|iPad|Mac OS X|Linux/.exec(userAgent)?.[0] || 'unknown';
  return { os, architecture: `wasm32 in ${browser}`, threads: hardwareConcurrency };
}

/** What a browser lacks in which WebGPU was young: the library asks a device what it is. */
const lacksInfo = () => 'GPUDevice' in globalThis && !('adapterInfo' in GPUDevice.prototype);
const LACKS = "this browser's WebGPU lacks GPUDevice.adapterInfo, which Chrome has since 136";

export async function init(options) {
  const { backend = 'auto', device, wasm } = optionsOf(options);
  const infos = await load(wasm);
  if (device) {
    if (!device.adapterInfo) throw wrong(`the device cannot be taken: ${LACKS}`, 'NoAdapter');
    const adapter = {
      features: device.features,
      limits: device.limits,
      info: device.adapterInfo,
      requestDevice: () => Promise.resolve(device),
    };
    const gpu = { requestAdapter: () => Promise.resolve(adapter) };
    return new Activations(await later(() => native.Native.adopt(gpu)), infos);
  }
  // Neither a window nor a worker: Node, which has no WebGPU.
  const outside = !('Window' in globalThis) && !('WorkerGlobalScope' in globalThis);
  if (outside && backend === 'gpu') {
    throw new ActivationsError('no GPU adapter: this is no browser; use the CPU backend', 'NoAdapter');
  }
  const young = !outside && backend !== 'cpu' && lacksInfo();
  if (young && backend === 'gpu') throw wrong(`no GPU adapter: ${LACKS}`, 'NoAdapter');
  const opened = await later(() => native.Native.open(outside || (young && backend === 'auto') ? 'cpu' : backend));
  return new Activations(opened, infos, young ? LACKS : undefined);
}

/** The version of the library. */
export async function version() {
  await load();
  return native.version();
}
