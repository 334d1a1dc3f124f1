import { check } from '@gossamer/tensor';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

export interface Axis {
  readonly label: string;
  /** Default `linear`. */
  readonly scale?: 'linear' | 'log';
  /** Default: the range of the data. */
  readonly domain?: readonly [number, number];
  readonly reverse?: boolean;
  /** Places of the ticks; default chosen by the scale. */
  readonly ticks?: readonly number[];
  /** Text of a tick; default the number. */
  readonly format?: (value: number) => string;
}

export interface Point {
  readonly x: number;
  readonly mean: number;
  /** Drawn as an error bar of ± one standard deviation. */
  readonly std?: number;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface LineChart {
  readonly title: string;
  readonly subtitle?: string;
  readonly x: Axis;
  readonly y: Axis;
  /** At most 7; drawn with the first on top. */
  readonly series: readonly Series[];
  /** Pixels; default 760 × 460. */
  readonly width?: number;
  readonly height?: number;
}

export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly std?: number;
  /** Text behind the bar; default the value. */
  readonly note?: string;
}

export interface BarChart {
  readonly title: string;
  readonly subtitle?: string;
  readonly x: Axis;
  /** From top to bottom. */
  readonly bars: readonly Bar[];
  /** Draws every bar on a pale track up to this value, such as 1 for shares. */
  readonly full?: number;
  /** Pixels; default 760. The height follows the number of bars. */
  readonly width?: number;
}

/** Colours of Okabe & Ito (2008), told apart with any colour vision; their yellow is too pale on white and left out. */
const colours = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#000000', '#56B4E9', '#E69F00'];
/** Markers tell series apart without any colour. */
const symbols = ['circle', 'square', 'triangle', 'diamond', 'star', 'cross', 'wye'] as const;
/** Ends of error bars. Not Plot's `marker`s, whose ids count up and would make every picture different. */
const dash = cap(4, 0);
const bar = cap(0, 4);
const ink = '#222';
const pale = '#666';
const fontSize = 13;

/** A line for each series, with markers, error bars and a legend; a complete SVG document. */
export function lineChart({ title, subtitle, x, y, series, width = 760, height = 460 }: LineChart): string {
  check(
    series.length <= colours.length,
    () => `lineChart '${title}': ${series.length} series; at most 7 stay readable`,
  );
  const all = series.flatMap(({ points }) => points.flatMap(p => [p.x, p.mean, p.std ?? 0]));
  check(all.length > 0, `lineChart '${title}': no points`);
  check(all.every(Number.isFinite), `lineChart '${title}': a point is NaN or infinite`);
  const lines = series.map(({ name, points }, i) => {
    const style = { stroke: colours[i], strokeWidth: 1.5 };
    const low = (p: Point) => p.mean - p.std!;
    const high = (p: Point) => p.mean + p.std!;
    const bars = points.filter(p => (p.std ?? 0) > 0);
    const marker = { fill: colours[i], symbol: symbols[i], r: 4.5, stroke: 'white', strokeWidth: 1 };
    const legend = { frameAnchor: 'top-right', dx: 34, dy: 12 + i * 22 } as const;
    return [
      Plot.ruleX(bars, { ...style, x: 'x', y1: low, y2: high }),
      Plot.dot(bars, { ...style, x: 'x', y: low, symbol: dash }),
      Plot.dot(bars, { ...style, x: 'x', y: high, symbol: dash }),
      Plot.line(points, { ...style, x: 'x', y: 'mean', strokeWidth: 2 }),
      Plot.dot(points, { x: 'x', y: 'mean', ...marker }),
      Plot.dot([name], { ...legend, ...marker }),
      Plot.text([name], { ...legend, dx: legend.dx + 12, textAnchor: 'start', lineAnchor: 'middle', fill: ink }),
    ];
  });
  return render(title, subtitle, {
    width,
    height,
    marginLeft: 66,
    marginRight: 62 + widest(series.map(s => s.name)),
    marginBottom: 48,
    x: { ...scale(x), insetLeft: 12, insetRight: 12, labelOffset: 40 },
    y: { ...scale(y), nice: y.domain === undefined, grid: true, labelOffset: 54 },
    marks: [Plot.frame({ anchor: 'bottom', stroke: pale }), lines.reverse()],
  });
}

/** A horizontal bar for each name, with its value or note behind it; a complete SVG document. */
export function barChart({ title, subtitle, x, bars, full, width = 760 }: BarChart): string {
  check(bars.length > 0, `barChart '${title}': no bars`);
  check(
    bars.every(b => Number.isFinite(b.value) && Number.isFinite(b.std ?? 0)),
    `barChart '${title}': a value is NaN or infinite`,
  );
  check(new Set(bars.map(b => b.name)).size === bars.length, `barChart '${title}': two bars have the same name`);
  const format = x.format ?? String;
  const spread = bars.filter(b => (b.std ?? 0) > 0);
  const style = { stroke: ink, strokeWidth: 1.5 };
  const low = (b: Bar) => b.value - b.std!;
  const end = (b: Bar) => b.value + (b.std ?? 0);
  const notes = bars.map(b => b.note ?? format(b.value));
  const row = 26;
  const head = subtitle ? 62 : 42;
  return render(title, subtitle, {
    width,
    height: head + 48 + row * bars.length,
    marginLeft: 20 + widest(bars.map(b => b.name)),
    marginRight: 24 + widest(notes),
    marginBottom: 48,
    x: {
      ...scale(x),
      domain: x.domain ?? [Math.min(0, ...bars.map(b => b.value)), full ?? Math.max(...bars.map(end))],
    },
    y: { domain: bars.map(b => b.name), label: null, tickSize: 0, padding: 0.28 },
    marks: [
      full === undefined ? Plot.gridX({ stroke: '#ddd', strokeOpacity: 1 }) : null,
      full === undefined ? null : Plot.barX(bars, { y: 'name', x1: 0, x2: full, fill: '#e8ecf0' }),
      Plot.barX(bars, { y: 'name', x: 'value', fill: colours[0] }),
      Plot.ruleY(spread, { ...style, y: 'name', x1: low, x2: end }),
      Plot.dot(spread, { ...style, y: 'name', x: low, symbol: bar }),
      Plot.dot(spread, { ...style, y: 'name', x: end, symbol: bar }),
      Plot.text(bars, {
        y: 'name',
        x: full === undefined ? end : () => full,
        text: (_, i) => notes[i],
        textAnchor: 'start',
        dx: 8,
        fill: ink,
      }),
    ],
  });
}

/** A marker that is a stroke from (−x, −y) to (x, y). */
function cap(x: number, y: number): Plot.SymbolImplementation {
  return {
    draw(path: CanvasPath) {
      path.moveTo(-x, -y);
      path.lineTo(x, y);
    },
  };
}

const scale = ({ label, scale = 'linear', domain, reverse = false, ticks, format }: Axis) => ({
  type: scale,
  label,
  labelAnchor: 'center' as const,
  labelArrow: 'none' as const,
  reverse,
  ...(domain && { domain: [...domain] }),
  ...(ticks && { ticks: [...ticks] }),
  tickFormat: format ?? (scale === 'log' ? String : undefined),
});

/** Pixels that the longest text takes at most, by the average width of a letter in common fonts. */
const widest = (texts: readonly string[]) => Math.ceil(Math.max(...texts.map(t => t.length)) * fontSize * 0.56);

function render(title: string, subtitle: string | undefined, options: Plot.PlotOptions): string {
  const heading = (text: string, dy: number, size: number, style: Plot.TextOptions) =>
    Plot.text([text], {
      frameAnchor: 'top-left',
      textAnchor: 'start',
      lineAnchor: 'top',
      dx: 12 - options.marginLeft!,
      dy,
      fontSize: size,
      ...style,
    });
  const marginTop = subtitle ? 62 : 42;
  const svg = Plot.plot({
    ...options,
    document: parseHTML('<html></html>').document,
    marginTop,
    style: { fontSize: `${fontSize}px`, color: ink, fontFamily: 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif' },
    marks: [
      options.marks ?? [],
      heading(title, 10 - marginTop, 17, { fontWeight: 600, fill: ink }),
      subtitle ? heading(subtitle, 34 - marginTop, fontSize, { fill: pale }) : null,
    ],
  });
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  const background = '<rect width="100%" height="100%" fill="white"/>';
  return `${svg.outerHTML.replace('</style>', `</style>${background}`)}\n`;
}
