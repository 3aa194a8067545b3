// Lines over x, drawn by uPlot.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { colour, colourOf, h } from './dom';

export interface Line {
  label: string;
  /** Of the colours. */
  slot: number;
  dashed?: boolean;
  /** Dots in place of a line. */
  dots?: boolean;
}

export interface ChartOptions {
  title: string;
  xLabel: string;
  log?: boolean;
  /** The limits of y for the least and the greatest value. */
  range?: (least: number, greatest: number) => [number, number];
  height?: number;
  /** Whether what the lines are is said below. */
  legend?: boolean;
  /** Charts of one name share their cursor. */
  together?: string;
  /** Without it there is no cursor. */
  onCursor?: (index: number) => void;
}

export interface Chart {
  element: HTMLElement;
  /** Draws lines; what is not finite is a gap. */
  draw(x: ArrayLike<number>, lines: Line[], values: ArrayLike<number>[]): void;
  /** Puts the cursor to an x. */
  point(x: number): void;
  /** What is seen, for those who do not see it. */
  describe(text: string): void;
  dispose(): void;
}

const dark = matchMedia('(prefers-color-scheme: dark)');
const FONT = '12px "Inter Variable", system-ui, sans-serif';

export function chart(options: ChartOptions): Chart {
  const height = options.height ?? 260;
  // Its place is kept, so that nothing moves once it is drawn.
  const host = h('div', { class: 'plot', role: 'img', 'aria-label': options.title, style: `min-height: ${height}px` });
  const legend = h('ul', { class: 'legend' });
  const element = h('figure', { class: 'chart' }, h('figcaption', {}, options.title), host, options.legend && legend);
  let plot: uPlot | undefined;
  let made = '';
  let cursor: number | undefined;

  const axis = (more: uPlot.Axis): uPlot.Axis => ({
    stroke: () => colour('--quiet'),
    grid: { stroke: () => colour('--line'), width: 1 },
    ticks: { show: false },
    font: FONT,
    labelFont: FONT,
    labelSize: 18,
    gap: 4,
    ...more,
  });
  const tick = (_: uPlot, ticks: number[]) =>
    ticks.map((tick) => {
      if (tick === null) return '';
      if (!options.log) return String(Number(tick.toPrecision(6)));
      const power = Math.round(Math.log10(tick));
      return power >= -2 && power <= 3 ? String(Number(tick.toPrecision(6))) : `1e${power}`;
    });

  const make = (lines: Line[], data: uPlot.AlignedData) => {
    plot?.destroy();
    const mark = (line: Line) => h('span', { class: line.dashed ? 'stroke dashed' : 'stroke', style: `border-color: var(${colourOf(line.slot)})` });
    legend.replaceChildren(...lines.map((line) => h('li', { class: 'named' }, mark(line), line.label)));
    plot = new uPlot(
      {
        width: Math.max(host.clientWidth, 200),
        height,
        legend: { show: false },
        padding: [8, 14, 0, 0],
        scales: {
          x: { time: false },
          y: options.log
            ? { distr: 3, range: (_, least, greatest) => decades(least, greatest) }
            : { range: (_, least, greatest) => (options.range ?? padded)(least, greatest) },
        },
        axes: [
          axis({ label: options.xLabel, size: 26 }),
          axis({ size: 48, values: tick, ...(options.log ? { splits: powers, filter: (_: uPlot, splits: number[]) => splits } : {}) }),
        ],
        series: [
          {},
          ...lines.map(
            (line): uPlot.Series => ({
              label: line.label,
              stroke: () => colour(colourOf(line.slot)),
              width: line.dots ? 0 : 2,
              // Steep lines on few pixels stay smooth.
              pxAlign: 0,
              dash: line.dashed ? [5, 4] : undefined,
              points: line.dots
                ? { show: true, size: 7, fill: () => colour('--paper'), stroke: () => colour(colourOf(line.slot)), width: 2 }
                : { show: false },
            }),
          ),
        ],
        cursor: {
          show: options.onCursor !== undefined,
          y: false,
          drag: { x: false, y: false },
          sync: options.together ? { key: options.together } : undefined,
          // What was pointed at last stays.
          bind: { mouseleave: () => () => null, dblclick: () => () => null },
        },
        hooks: {
          setCursor: [
            (u) => {
              const index = u.cursor.idx;
              // The program puts it without an event.
              if (!u.cursor.event || index === null || index === undefined || (u.cursor.left ?? -1) < 0) return;
              cursor = u.data[0][index];
              options.onCursor?.(index);
            },
          ],
        },
      },
      data,
      host,
    );
  };

  const point = (x: number) => {
    cursor = x;
    // After what uPlot has yet to do of its data.
    queueMicrotask(() => {
      if (!plot || !options.onCursor || x !== cursor) return;
      plot.setCursor({ left: plot.valToPos(x, 'x'), top: 0 }, false);
    });
  };

  const draw = (x: ArrayLike<number>, lines: Line[], values: ArrayLike<number>[]) => {
    const clean = (value: number) => (Number.isFinite(value) && !(options.log && value <= 0) ? value : null);
    const data = [Array.from(x), ...values.map((line) => Array.from(line, clean))] as uPlot.AlignedData;
    const key = JSON.stringify(lines);
    if (plot && key === made) plot.setData(data);
    else make(lines, data);
    made = key;
    if (cursor !== undefined) point(cursor);
  };

  const fit = new ResizeObserver(() => {
    if (!plot || host.clientWidth === 0) return;
    plot.setSize({ width: host.clientWidth, height });
    if (cursor !== undefined) point(cursor);
  });
  fit.observe(host);
  const repaint = () => plot?.redraw(false);
  dark.addEventListener('change', repaint);

  return {
    element,
    draw,
    point,
    describe: (text) => host.setAttribute('aria-label', text),
    dispose: () => {
      fit.disconnect();
      dark.removeEventListener('change', repaint);
      plot?.destroy();
      plot = undefined;
    },
  };
}

/** The values with some room, and 0 within. */
function padded(least: number, greatest: number): [number, number] {
  if (least === null || greatest === null) return [0, 1];
  const [low, high] = [Math.min(least, 0), Math.max(greatest, 0)];
  const room = (high - low || 1) * 0.06;
  return [low === 0 ? 0 : low - room, high === 0 ? 0 : high + room];
}

/** Powers of ten, eight at most. */
function powers(plot: uPlot): number[] {
  const { min, max } = plot.scales.y!;
  if (!min || !max) return [];
  const [low, high] = [Math.round(Math.log10(min)), Math.round(Math.log10(max))];
  const step = Math.ceil((high - low) / 7) || 1;
  return Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => 10 ** (high - i * step)).reverse();
}

/** Whole powers of ten around the values. */
function decades(least: number, greatest: number): [number, number] {
  if (!(least > 0) || !(greatest > 0)) return [0.1, 1];
  const low = Math.floor(Math.log10(least));
  const high = Math.ceil(Math.log10(greatest));
  return [10 ** low, 10 ** Math.max(high, low + 1)];
}
