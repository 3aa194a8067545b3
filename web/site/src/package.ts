// What the page knows of the package: what of its registry can be drawn, and with which sliders.

import { init, type Activations, type FunctionInfo, type Options } from 'wgpu-activations';

export type { Activations, FunctionInfo, Options };
export type Option = FunctionInfo['options'][number];

/** The best backend that there is. `?backend=cpu` in the address asks for another. */
export function open(): Promise<Activations> {
  // The browser's GPU process starts while the library is loaded.
  void navigator.gpu?.requestAdapter().catch(() => null);
  const asked = new URLSearchParams(location.search).get('backend');
  return init({ backend: asked === 'cpu' || asked === 'gpu' ? asked : 'auto' });
}

/** Whether it is a function of one variable: of one array, and of no axis of it. */
export function isCurve(info: FunctionInfo): boolean {
  const needed = info.inputs.filter((input) => !input.optional);
  return needed.length === 1 && !info.options.some((option) => option.name === 'axis');
}

/** Whether there is a gradient by the first input. */
export const hasSlope = (info: FunctionInfo) => info.inputs[0]?.differentiable ?? false;

export interface Span {
  name: string;
  min: number;
  max: number;
  step: number;
  value: number;
}

/** A slider for an option, where it is a number: over the values that are defined, near the default. */
export function spanOf(option: Option): Span | undefined {
  if (option.kind !== 'number' || option.default === undefined || option.default === null) return undefined;
  const value = Number(option.default);
  const { min = -Infinity, max = Infinity } = limits(option);
  if (Number.isNaN(value)) return undefined;
  // A limit that is infinite by default: the slider's end stands for it.
  const reach = Number.isFinite(value) ? Math.max(2, 4 * Math.abs(value)) : 8;
  const low = Math.max(min, Number.isFinite(value) ? value - reach : -reach);
  const high = Math.min(max, Number.isFinite(value) ? value + reach : reach);
  const span = high - low;
  const step = span > 8 ? 0.1 : span > 1 ? 0.05 : 0.01;
  const [from, to] = [Math.ceil(low / step) * step, Math.floor(high / step) * step];
  return { name: option.name, min: rounded(from), max: rounded(to), step, value };
}

/** The value of a slider's place: its end is the infinity that the default is. */
export function valueAt(span: Span, place: number): number {
  if (span.value === -Infinity && place <= span.min) return -Infinity;
  if (span.value === Infinity && place >= span.max) return Infinity;
  return place;
}

export function placeOf(span: Span, value: number): number {
  return Math.max(span.min, Math.min(span.max, value));
}

const rounded = (value: number) => Number(value.toFixed(6));

/** The least and the greatest value that the registry's words for the values speak of. */
function limits(option: Option): { min?: number; max?: number } {
  const text = option.range ?? option.meaning;
  const share = /from (-?[\d.]+) to (-?[\d.]+)/.exec(text);
  if (share) return { min: Number(share[1]), max: Number(share[2]) };
  const least = /(-?[\d.]+) or more/.exec(text);
  return least ? { min: Number(least[1]) } : {};
}

/** The value and the derivative at some places. */
export async function curve(wa: Activations, info: FunctionInfo, x: Float32Array, options: Options): Promise<[Float32Array, Float32Array | undefined]> {
  if (hasSlope(info)) return wa.applyWithGrad(info.name, x, options);
  return [await wa.apply(info.name, x, options), undefined];
}
