// The library's own tests on a device, step by step.

import type { Activations, CheckRow } from 'wgpu-activations';

/** An error, as text where JSON has no number for it. */
export type Ulp = number | string;

/** What the page shows of report.json. */
export interface Report {
  adapters: { self_check: { findings: { verdict: string }[] } }[];
  backends: Measured[];
}

interface Measured {
  backend: string;
  error: string | null;
  shape: number[];
  rates: Rate[];
  check: Row[];
  upstream: Row[];
  f16: Halves[];
  bf16: Halves[];
  left_out: string[];
}

export interface Row {
  function: string;
  pass: string;
  passed: boolean;
  max_ulp: Ulp;
  bound: Ulp;
}

export interface Halves {
  passed: boolean;
  inputs: number;
  wrong: number;
}

export interface Rate {
  function: string;
  pass: string;
  median_gb_per_s: number;
  copy_median_gb_per_s: number;
  share_of_copy: number;
}

/** What is found of a device. */
export interface Found {
  device: string;
  /** What stopped the check. */
  error?: string;
  self?: { right: number; wrong: number };
  rows: Row[];
  /** Results in 16 bits, and how many of them are wrong. */
  halves?: { results: number; wrong: number };
  rates: Rate[];
  shape?: number[];
  /** What there was no time for. */
  leftOut: string[];
  report?: object;
}

/** What is told of a check as it goes on. */
export type Told =
  | { what: 'progress'; done: number; total: number; name: string }
  | { what: 'found'; found: Found }
  | { what: 'error'; problem: string };

export interface Wish {
  backend: 'gpu' | 'cpu';
  /** About how long it may take. */
  seconds: number;
  /** These functions alone, and no report. */
  functions?: string[];
}

/** Checks everything that there is time for, until the signal. */
export async function checking(wa: Activations, { seconds, functions }: Wish, tell: (told: Told) => void, signal?: AbortSignal): Promise<void> {
  const onProgress = (done: number, total: number, name: string) => tell({ what: 'progress', done, total, name });
  if (functions) {
    const { right, wrong } = await wa.selfCheck();
    signal?.throwIfAborted();
    const rows = (await wa.check({ functions, onProgress, signal })).map(rowOf);
    const found = { device: wa.describe(), self: { right, wrong }, rows, rates: [], leftOut: [] };
    return tell({ what: 'found', found });
  }
  const report = await wa.report({ seconds, onProgress, signal });
  tell({ what: 'found', found: foundIn(report as Report) });
}

function rowOf(row: CheckRow): Row {
  return { function: row.function, pass: row.pass, passed: row.ok, max_ulp: row.worstUlp, bound: row.bound };
}

function foundIn(report: Report): Found {
  const measured = report.backends[0]!;
  const findings = report.adapters[0]?.self_check.findings ?? [];
  const count = (verdict: string) => findings.filter((finding) => finding.verdict === verdict).length;
  const halves = [...measured.f16, ...measured.bf16];
  const sum = (of: (halves: Halves) => number) => halves.reduce((sum, one) => sum + of(one), 0);
  return {
    device: measured.backend,
    error: measured.error ?? undefined,
    self: findings.length ? { right: count('right'), wrong: count('WRONG') } : undefined,
    rows: [...measured.check, ...measured.upstream.map((row) => ({ ...row, pass: 'any dy' }))],
    halves: { results: sum((one) => one.inputs), wrong: sum((one) => one.wrong) },
    rates: measured.rates,
    shape: measured.shape,
    leftOut: measured.left_out,
    report,
  };
}
