import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { barChart, lineChart, panelChart } from './plot.ts';

const x = { label: 'sparsity', ticks: [0.5, 0.9] };
const y = { label: 'accuracy' };
const series = [
  {
    name: 'first',
    points: [
      { x: 0.5, mean: 90, std: 1 },
      { x: 0.9, mean: 80 },
    ],
  },
  {
    name: 'x < y',
    points: [
      { x: 0.5, mean: 70, std: 0.5 },
      { x: 0.9, mean: 60, std: 2 },
    ],
  },
];

/** Colours in the picture: rendering it proves that the document is well-formed. */
async function colours(svg: string): Promise<Map<string, number>> {
  const { data, info } = await sharp(Buffer.from(svg)).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const counts = new Map<string, number>();
  for (let i = 0; i < data.length; i += info.channels) {
    const key = data.subarray(i, i + 3).toString('hex');
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

describe('lineChart', () => {
  it('draws every series in its colour on white, with title, labels and legend', async () => {
    const svg = lineChart({ title: 'T & U', subtitle: 'three seeds', x, y, series });
    for (const text of ['T &amp; U', 'three seeds', 'sparsity', 'accuracy', '>first<', '>x &lt; y<']) {
      expect(svg).toContain(text);
    }
    const seen = await colours(svg);
    expect(seen.get('0072b2')).toBeGreaterThan(100);
    expect(seen.get('d55e00')).toBeGreaterThan(100);
    expect(seen.get('ffffff')).toBeGreaterThan(0.8 * 760 * 460);
  });

  it('gives the same bytes for the same input', () => {
    expect(lineChart({ title: 'T', x, y, series })).toBe(lineChart({ title: 'T', x, y, series }));
  });

  it('writes small ticks of a logarithmic axis as numbers', () => {
    const log = { label: 'density', scale: 'log', ticks: [0.5, 0.9] } as const;
    expect(lineChart({ title: 'T', x: log, y, series })).toContain('>0.5<');
  });

  it('refuses no points, NaN and too many series', () => {
    expect(() => lineChart({ title: 'T', x, y, series: [] })).toThrow("lineChart 'T': no points");
    const bad = [{ name: 'a', points: [{ x: 0, mean: Number.NaN }] }];
    expect(() => lineChart({ title: 'T', x, y, series: bad })).toThrow('NaN');
    const many = Array.from({ length: 8 }, (_, i) => ({ ...series[0], name: `${i}` }));
    expect(() => lineChart({ title: 'T', x, y, series: many })).toThrow('8 series');
  });
});

describe('panelChart', () => {
  const other = [
    {
      name: 'third',
      points: [
        { x: 0.5, mean: 65 },
        { x: 0.9, mean: 62 },
      ],
    },
  ];
  const panels = [
    { title: 'one', series },
    { title: 'two', series: other },
  ];

  it('has every panel, one title, each name once, and all series in grey behind', async () => {
    const svg = panelChart({ title: 'T', subtitle: 'S', x, y, panels, level: { name: 'dense', y: 85 } });
    for (const text of ['T', 'S', 'one', 'two', 'first', 'third', 'dense']) {
      expect(svg.split(`>${text}<`).length).toBe(2);
    }
    const seen = await colours(svg);
    expect(seen.get('0072b2')).toBeGreaterThan(100);
    // All three series behind each of the two panels.
    const grey = svg.split('stroke="#c8c8c8"').slice(1);
    expect(grey.map(part => part.slice(0, part.indexOf('</g></g>')).split('<path').length - 1)).toEqual([3, 3]);
    expect(svg).toBe(panelChart({ title: 'T', subtitle: 'S', x, y, panels, level: { name: 'dense', y: 85 } }));
  });

  it('refuses no panels, and names the panel that is at fault', () => {
    expect(() => panelChart({ title: 'T', x, y, panels: [] })).toThrow("panelChart 'T': no panels");
    const empty = [...panels, { title: 'three', series: [] }];
    expect(() => panelChart({ title: 'T', x, y, panels: empty })).toThrow("panelChart 'T', three: no points");
  });
});

describe('barChart', () => {
  it('draws bars as long as their values', async () => {
    const area = async (value: number) => {
      const svg = barChart({ title: 'T', x: { label: 'share' }, full: 1, bars: [{ name: 'a', value }] });
      return (await colours(svg)).get('0072b2') ?? 0;
    };
    expect((await area(0.8)) / (await area(0.4))).toBeCloseTo(2, 1);
  });

  it('writes notes and values, in the order given', () => {
    const svg = barChart({
      title: 'T',
      x: { label: 'ratio' },
      bars: [
        { name: 'z', value: 3, note: '3 ± 1' },
        { name: 'a', value: 7, std: 1 },
      ],
    });
    expect(svg).toContain('>3 ± 1<');
    expect(svg).toContain('>7<');
    expect(svg.indexOf('>z<')).toBeLessThan(svg.indexOf('>a<'));
  });

  it('refuses none, NaN and twins', () => {
    const chart = (bars: { name: string; value: number }[]) => () => barChart({ title: 'T', x: { label: '' }, bars });
    expect(chart([])).toThrow('no bars');
    expect(chart([{ name: 'a', value: Number.NaN }])).toThrow('NaN');
    expect(
      chart([
        { name: 'a', value: 1 },
        { name: 'a', value: 2 },
      ]),
    ).toThrow('same name');
  });
});
