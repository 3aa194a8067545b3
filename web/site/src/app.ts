// What a view gets, and what it is.

import type { Activations, FunctionInfo } from './package';
import type { Strings } from './strings';

export interface App {
  wa: Activations;
  functions: FunctionInfo[];
  strings: Strings;
}

export interface View {
  element: HTMLElement;
  /** Called once the element is in the page. */
  shown?: () => void;
  /** Goes to a part of it that the address names. */
  part?: (name: string) => void;
  dispose: () => void;
}

export type Open = (app: App) => View;

/** A function of the registry; the lessons name some. */
export function named(app: App, name: string): FunctionInfo {
  const info = app.functions.find((info) => info.name === name);
  if (!info) throw new Error(`the package has no function '${name}'`);
  return info;
}
