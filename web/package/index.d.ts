// The types of WebGPU are TypeScript's, or those of `@webgpu/types`.

import type { Functions } from './functions.d.ts';

/** Where results are computed: `auto` takes a GPU of hardware, else the CPU. */
export type BackendKind = 'auto' | 'gpu' | 'cpu';

export interface InitOptions {
  /** `auto` where it is left out. With `gpu` there is an error where there is none. */
  backend?: BackendKind;
  /** A device of your own, which computes in the place of one that `init` opens. */
  device?: GPUDevice;
  /** The compiled library, where it does not lie beside `index.js`; what the first call loads stays. */
  wasm?: URL | BufferSource | WebAssembly.Module;
}

type Numbers = Float32Array | Float64Array | number[] | number[][] | number[][][];
type Others = Uint8Array | Uint8ClampedArray | Uint32Array | Int32Array | BigInt64Array | boolean[] | boolean[][];

/** A Float16Array, which TypeScript's library has where `lib` has it. */
type Half = ArrayBufferView & ArrayLike<number> & { readonly [Symbol.toStringTag]: 'Float16Array' };

/** An array with its shape. */
export interface Shaped {
  data: Numbers | Others;
  shape?: readonly number[];
}

/** An array of 16-bit numbers with its shape: their bits in a Uint16Array, with their type as `dtype`. */
export type Shaped16 =
  | { data: Half; shape?: readonly number[] }
  | { data: Uint16Array; dtype: 'f16' | 'bf16'; shape?: readonly number[] };

/** An array of f32, or of a type that targets, masks and lengths have. */
export type Input32 = Numbers | Others | Shaped;

/** An array: row-major, of one axis where it has no shape. A Float16Array is one of f16. */
export type Input = Input32 | Half | Shaped16 | Result16;

/** An array that was computed, with its shape beside the numbers: `y.shape`. */
export type Result = Float32Array & { readonly shape: readonly number[] };

/** What comes of a first input of 16-bit numbers: a Float16Array of f16 where the browser has it. */
export type HalfResult = (Half & { readonly shape: readonly number[] }) | Result16;

/** A result of 16-bit numbers where the browser has no array of them. It is an input of other calls. */
export class Result16 {
  readonly bits: Uint16Array;
  readonly dtype: 'f16' | 'bf16';
  readonly shape: readonly number[];
}

/**
 * Options of a function by their names, as `axis`, `alpha` or `reduction`, and inputs that may be missing by
 * theirs, as `mask`, `bias` or `sinks`: see `functions()`.
 */
export interface Options {
  /**
   * The shape of the first input, whatever shape it had, and of the others that had the same, or have as many
   * elements and no shape. A tensor keeps its own: its calls take none.
   */
  shape?: readonly number[];
  axis?: number;
  causal?: boolean | 'upper_left' | 'lower_right';
  [name: string]: unknown;
}

export interface OptionInfo {
  name: string;
  kind: 'number' | 'integer' | 'count' | 'flag' | 'choice' | 'text';
  /** The words of a choice. */
  words: string[];
  /** The value where none is given, where there is one. */
  default?: number | boolean | string;
  /** Which values are defined, or what they mean. */
  meaning: string;
  /** Which values there are of a parameter of an activation. */
  range?: string;
}

export interface InputInfo {
  name: string;
  kind: 'numbers' | 'targets' | 'mask' | 'lengths';
  optional: boolean;
  differentiable: boolean;
}

/** What the library's registry says of a function. */
export interface FunctionInfo {
  name: string;
  aliases: string[];
  family: string;
  summary: string;
  formula: string;
  derivative: string;
  /** The paper or the framework that the definition is from. */
  source: string;
  /** The shapes of what comes out. */
  shapes: string;
  /** Whether an element of the result is a function of the element at its place. */
  elementwise: boolean;
  /** Whether it has a gradient from its output. */
  fromOutput: boolean;
  /** Whether there is a gradient by an input. */
  differentiable: boolean;
  options: OptionInfo[];
  /** The inputs of its first form. */
  inputs: InputInfo[];
  /** All forms of the inputs: a gate takes one array or two. */
  forms: InputInfo[][];
  /** The ways that it does not run, each with the reason. */
  missing: { way: string; why: string }[];
}

/** An error of the library, with its sentence. */
export class ActivationsError extends Error {
  /** The name of its kind, as in Rust: `UnknownFunction`, `DeviceLost`. */
  readonly code: string;
}

/** Several steps that are computed as one. */
export interface ChainFunction {
  (x: Input32, options?: { shape?: readonly number[]; operands?: Input32[] }): Promise<Result>;
  /** The gradients by x and by each operand. */
  grad(
    x: Input32,
    dy: Input32,
    options?: { shape?: readonly number[]; operands?: Input32[] },
  ): Promise<{ x: Result; operands: Result[] }>;
  /** The chain as text. */
  readonly text: string;
  /** How many operands it takes. */
  readonly operands: number;
}

/** A mask, lengths or labels that stay on the device, for calls of tensors. */
export interface DeviceArray {
  readonly shape: readonly number[];
  /** Gives its memory back. */
  dispose(): void;
}

/**
 * An array of f32 that stays on the device. Calls are submitted at once, and only `read` waits. Inputs that may be
 * missing are among the options by their names, on the device as well: `{ axis: -1, mask: await wa.mask(keep) }`;
 * weights of losses are arrays in memory there.
 */
export interface Tensor {
  readonly shape: readonly number[];
  /** The value of a function of this tensor, and of others where it takes several. */
  apply(name: string, options?: Options, ...others: (Tensor | DeviceArray)[]): Tensor;
  /** The gradient by this tensor. An array without a shape has the result's. */
  grad(name: string, dy: Tensor | Float32Array, options?: Options, ...others: (Tensor | DeviceArray)[]): Tensor;
  /** The gradients by all tensors that there is one by. */
  grads(name: string, dy: Tensor | Float32Array, options?: Options, ...others: (Tensor | DeviceArray)[]): Tensor[];
  /** The values; an error of anything that they come of is told here. */
  read(): Promise<Result>;
  /** Its buffer, for shaders of your own; it may be longer than the array. */
  readonly gpuBuffer: GPUBuffer;
  /** Gives its memory back, for other tensors of the same device. */
  dispose(): void;
}

/** What became of a question to the adapter. */
export interface Finding {
  subject: string;
  verdict: string;
  right: boolean;
  wrong: boolean;
  detail: string;
}

/** The worst result of a function in a direction. */
export interface CheckRow {
  /** The function with its parameters, or what else was checked. */
  function: string;
  /** `any dy`: gradients for upstream gradients other than 1. */
  pass: 'forward' | 'backward' | 'any dy';
  /** Whether all results were within the bound. */
  ok: boolean;
  /** How many results were compared. */
  inputs: number;
  /** The largest error in ULP; infinite where a NaN was wrong. */
  worstUlp: number;
  /** The largest error that is within the contract. */
  bound: number;
  worstInput: number;
  got: number;
  want: number;
  /** Results that are NaN where the reference is not, or the other way. */
  nanMismatches: number;
}

export interface CheckOptions {
  /** Names of functions; all without. */
  functions?: string[];
  onProgress?: (done: number, total: number, name: string) => void;
  signal?: AbortSignal;
}

export interface ReportOptions {
  /** About how long it may take; what there is no time for is named in it. */
  seconds?: number;
  /** The array of the rates. */
  shape?: readonly number[];
  onProgress?: (done: number, total: number, name: string) => void;
  signal?: AbortSignal;
}

/** A function of the library. Of several inputs, a list; a list of lists of numbers is one array of two axes. */
export interface Call {
  (inputs: Input32 | Input32[], options?: Options): Promise<Result>;
  (inputs: Input | Input[], options?: Options): Promise<Result | HalfResult>;
}

interface Methods {
  /** What computes: `gpu` or `cpu`. */
  readonly kind: 'gpu' | 'cpu';
  /** The device, where there is one. */
  readonly device: GPUDevice | undefined;
  /** One line: the backend, its device, and why it was taken. */
  describe(): string;
  /** What the registry says of every function. */
  functions(): FunctionInfo[];
  /** The value of a function by its name or an alias. */
  apply(name: string, inputs: Input32 | Input32[], options?: Options): Promise<Result>;
  apply(name: string, inputs: Input | Input[], options?: Options): Promise<Result | HalfResult>;
  /** The gradient by the first input; `dy` may be missing where the result is one number. */
  grad(name: string, inputs: Input32 | Input32[], dy?: Input32, options?: Options): Promise<Result>;
  grad(name: string, inputs: Input | Input[], dy?: Input, options?: Options): Promise<Result | HalfResult>;
  /** The gradients by all inputs that there is one by, in their order. */
  grads(name: string, inputs: Input32 | Input32[], dy?: Input32, options?: Options): Promise<Result[]>;
  grads(name: string, inputs: Input | Input[], dy?: Input, options?: Options): Promise<(Result | HalfResult)[]>;
  /** The gradient by the first input, from the output. */
  gradFromOutput(name: string, y: Input32, dy: Input32, options?: Options): Promise<Result>;
  gradFromOutput(name: string, y: Input, dy: Input, options?: Options): Promise<Result | HalfResult>;
  /** The value, and its gradient by the first input for an upstream gradient of 1. */
  applyWithGrad(name: string, inputs: Input32 | Input32[], options?: Options): Promise<[Result, Result]>;
  applyWithGrad(
    name: string,
    inputs: Input | Input[],
    options?: Options,
  ): Promise<[Result | HalfResult, Result | HalfResult]>;
  /** Steps by text: `wa.chain('scale(0.125) | softmax(axis=-1)')`. */
  chain(text: string): ChainFunction;
  /** An array on the device; a GPU's alone. */
  tensor(x: Float32Array | Float64Array | number[] | number[][] | Shaped, shape?: readonly number[]): Tensor;
  /** A mask on the device: whatever is not 0 takes part. */
  mask(keep: Others | number[] | number[][] | Shaped, shape?: readonly number[]): Promise<DeviceArray>;
  /** Row lengths on the device. */
  lengths(counts: Others | number[] | number[][] | Shaped, shape?: readonly number[]): Promise<DeviceArray>;
  /**
   * The targets of a loss over classes, as `cross_entropy`, on the device: checked, and for logits of this shape and
   * calls with the same axis, weight and ignored class.
   */
  labels(
    name: string,
    targets: Numbers | Others | Shaped,
    shape: readonly number[],
    options?: Options,
  ): Promise<DeviceArray>;
  /** A tensor in a buffer of yours, of the same device, with the usages STORAGE and COPY_SRC. */
  fromBuffer(buffer: GPUBuffer, shape: readonly number[]): Tensor;
  /** Asks the adapter everything that the library takes for granted: probes, and known answers of functions. */
  selfCheck(): Promise<{ right: number; wrong: number; findings: Finding[] }>;
  /**
   * Holds functions, forward and backward, against the f64 reference, over stratified inputs. The reference
   * computes on the calling thread: a worker keeps a page lively.
   */
  check(options?: CheckOptions): Promise<CheckRow[]>;
  /** What `activations report` writes of a machine, of this browser's device: as JSON, `report.json`. */
  report(options?: ReportOptions): Promise<object>;
  /**
   * Lets go of the device and of the memory that it keeps for calls: the browser takes back what nothing else
   * refers to, as a tensor, or code of yours that has `device`. Calls that are under way end as they would.
   */
  dispose(): void;
}

/** The methods, and every function of the library by its name: `wa.gelu(x)`. */
export type Activations = Methods & Functions;

/** Loads the library and opens a backend. */
export function init(options?: InitOptions): Promise<Activations>;

/** The version of the library. */
export function version(): Promise<string>;
