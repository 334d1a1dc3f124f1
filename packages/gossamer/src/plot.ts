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

/** A part of a {@link panelChart}: the series that stand out in it. */
export interface Panel {
  readonly title: string;
  /** At most 7. */
  readonly series: readonly Series[];
}

export interface PanelChart {
  readonly title: string;
  readonly subtitle?: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly panels: readonly Panel[];
  /** A level to compare with, drawn across all panels. */
  readonly level?: { readonly name: string; readonly y: number };
  /** Panels in a row; default 3. */
  readonly columns?: number;
  /** Pixels of one panel; default 300 × 290. */
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
  checkSeries(`lineChart '${title}'`, series);
  const lines = series.map((s, i) => {
    const legend = { frameAnchor: 'top-right', dx: 34, dy: 12 + i * 22 } as const;
    return [...seriesMarks(s, i), ...legendMarks(s.name, i, {}, legend)];
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

/**
 * Many series as small multiples: in each panel its own in colour, with markers, error bars and a legend, and those of all
 * other panels in grey; a complete SVG document.
 */
export function panelChart(chart: PanelChart): string {
  const { title, subtitle, x, y, panels, level, columns = 3, width = 300, height = 290 } = chart;
  check(panels.length > 0, `panelChart '${title}': no panels`);
  for (const panel of panels) checkSeries(`panelChart '${title}', ${panel.title}`, panel.series);
  const rows = Math.ceil(panels.length / columns);
  const across = Math.min(columns, panels.length);
  const place = (i: number) => ({ fx: i % columns, fy: Math.floor(i / columns) });
  const all = panels.flatMap(p =>
    p.series.flatMap(({ points }, z) => points.map(at => ({ ...at, z: `${p.title} ${z}` }))),
  );
  const marks = panels.flatMap((panel, i) => [
    Plot.frame({ ...place(i), anchor: 'bottom', stroke: pale }),
    level ? Plot.ruleY([level.y], { ...facet(place(i)), stroke: ink, strokeDasharray: '4 3' }) : null,
    Plot.line(
      all.map(at => ({ ...at, ...place(i) })),
      { fx: 'fx', fy: 'fy', x: 'x', y: 'mean', z: 'z', stroke: '#c8c8c8', strokeWidth: 1.25 },
    ),
    ...panel.series.map((s, k) => seriesMarks(s, k, place(i))).reverse(),
    panel.series.map(({ name }, k) =>
      legendMarks(name, k, place(i), {
        frameAnchor: 'bottom-left',
        dx: 14,
        dy: -10 - 17 * (panel.series.length - 1 - k),
      }),
    ),
    Plot.text([panel.title], {
      ...facet(place(i)),
      frameAnchor: 'top-left',
      textAnchor: 'start',
      dx: 2,
      dy: -16,
      fontWeight: 600,
      fill: ink,
    }),
    level && i === 0
      ? Plot.text([level.name], {
          ...facet(place(i)),
          y: level.y,
          frameAnchor: 'right',
          textAnchor: 'end',
          dx: -4,
          dy: -8,
          fill: pale,
        })
      : null,
  ]);
  return render(title, subtitle, {
    width: 66 + across * width,
    height: (subtitle ? 82 : 62) + rows * height + 48,
    marginLeft: 66,
    marginRight: 16,
    marginBottom: 48,
    marginTop: subtitle ? 82 : 62,
    fx: { axis: null, padding: 0.08, domain: [...Array(across).keys()] },
    fy: { axis: null, padding: 0.16, domain: [...Array(rows).keys()] },
    x: { ...scale(x), insetLeft: 10, insetRight: 10, labelOffset: 40 },
    y: { ...scale(y), nice: y.domain === undefined, grid: true, labelOffset: 54 },
    marks,
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

/** Where a mark stands among panels; nowhere in a single chart. */
type Place = { readonly fx?: number; readonly fy?: number };
const facet = ({ fx, fy }: Place) => (fx === undefined ? {} : { fx: () => fx, fy: () => fy });

function checkSeries(chart: string, series: readonly Series[]): void {
  check(
    series.length <= colours.length,
    () => `${chart}: ${series.length} series; at most ${colours.length} stay readable`,
  );
  const all = series.flatMap(({ points }) => points.flatMap(p => [p.x, p.mean, p.std ?? 0]));
  check(all.length > 0, `${chart}: no points`);
  check(all.every(Number.isFinite), `${chart}: a point is NaN or infinite`);
}

const markerOf = (i: number) => ({ fill: colours[i], symbol: symbols[i], r: 4.5, stroke: 'white', strokeWidth: 1 });

/** Line, markers and error bars of the series number `i`. */
function seriesMarks({ points }: Series, i: number, place: Place = {}): Plot.Markish[] {
  const style = { ...facet(place), stroke: colours[i], strokeWidth: 1.5, x: 'x' };
  const low = (p: Point) => p.mean - p.std!;
  const high = (p: Point) => p.mean + p.std!;
  const bars = points.filter(p => (p.std ?? 0) > 0);
  return [
    Plot.ruleX(bars, { ...style, y1: low, y2: high }),
    Plot.dot(bars, { ...style, y: low, symbol: dash }),
    Plot.dot(bars, { ...style, y: high, symbol: dash }),
    Plot.line(points, { ...style, y: 'mean', strokeWidth: 2 }),
    Plot.dot(points, { ...facet(place), x: 'x', y: 'mean', ...markerOf(i) }),
  ];
}

/** Marker and name of the series number `i`. */
function legendMarks(
  name: string,
  i: number,
  place: Place,
  at: { readonly frameAnchor: Plot.FrameAnchor; readonly dx: number; readonly dy: number },
): Plot.Markish[] {
  const where = { ...facet(place), ...at };
  return [
    Plot.dot([name], { ...where, ...markerOf(i) }),
    Plot.text([name], { ...where, dx: at.dx + 12, textAnchor: 'start', lineAnchor: 'middle', fill: ink }),
  ];
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
      // Once, over all panels.
      facet: 'super',
      ...style,
    });
  const marginTop = options.marginTop ?? (subtitle ? 62 : 42);
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
