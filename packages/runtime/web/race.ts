/** The page: chooses models, races, draws. `?model=<url>&vs=<url>&rounds=<n>` starts by itself. */
import { type Feeds, InferenceSession, type NodeReport } from '../src/index.ts';
import { type Entrant, entrants, feedsFor, freeDimensions, type Loaded, profile } from './contenders.ts';

interface Model {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A line of the result. */
interface Row {
  readonly runtime: string;
  readonly threads: number;
  readonly model: string;
  /** Milliseconds of one run. */
  readonly median: number;
  readonly p10: number;
  readonly p90: number;
  /** Largest difference from onnxruntime-web's outputs (without it: from the first entrant's), relative to the largest. */
  readonly difference: number;
}

interface Result {
  readonly isolated: boolean;
  readonly cores: number;
  readonly userAgent: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly rounds: number;
  readonly rows: readonly Row[];
  readonly nodes: readonly NodeReport[];
}

interface Lane {
  readonly entrant: Entrant;
  readonly model: Model;
  readonly loaded: Loaded;
  readonly outputs: Awaited<ReturnType<Loaded['run']>>;
  readonly times: number[];
}

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

const make = (tag: string, text = '', className = ''): HTMLElement => {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
};

const status = (text: string, error = false): void => {
  element('status').textContent = text;
  element('status').classList.toggle('error', error);
};

const note = (text: string): void => element('notes').append(make('li', text));

/** Lets the page draw. */
const pause = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 4));

const quantile = (times: readonly number[], q: number): number =>
  times.toSorted((a, b) => a - b)[Math.round(q * (times.length - 1))];

const short = (ms: number): string => (ms < 10 ? ms.toFixed(2) : ms.toFixed(1));

let models: Model[] = [];

async function choose(chosen: Model[]): Promise<void> {
  models = chosen;
  element('notes').replaceChildren();
  status('Reading the model …');
  const session = await InferenceSession.create(models[0].bytes, { threads: 1 });
  const fields = freeDimensions(session).map(name => {
    const label = make('label', `${name} `);
    const input = Object.assign(document.createElement('input'), { type: 'number', name, value: '1', min: '1' });
    label.append(input);
    return label;
  });
  await session.release();
  element('dims').replaceChildren(...fields);
  element('chosen').textContent = models
    .map(({ name, bytes }) => `${name} (${(bytes.length / 1e6).toFixed(1)} MB)`)
    .join(' against ');
  element('settings').hidden = false;
  status('');
}

async function race(): Promise<Result> {
  const rounds = Number(element<HTMLInputElement>('rounds').value);
  element('notes').replaceChildren();
  const sizes = new Map([...element('dims').querySelectorAll('input')].map(input => [input.name, Number(input.value)]));
  const { entrants: all, versions } = await entrants(new URL('ort/', document.baseURI).href);
  if (!versions['onnxruntime-web']) note('onnxruntime-web is not served here: Gossamer races alone.');
  if (!globalThis.crossOriginIsolated) note('This page is not cross-origin isolated, so everyone has one thread.');
  const lanes: Lane[] = [];
  const feeds = new Map<Model, Feeds>();
  try {
    for (const model of models) {
      const session = await InferenceSession.create(model.bytes, { threads: 1 });
      feeds.set(model, feedsFor(session, sizes));
      await session.release();
      for (const entrant of all) {
        status(`Loading: ${entrant.name} …`);
        await pause();
        try {
          const loaded = await entrant.load(model.bytes, feeds.get(model)!);
          lanes.push({ entrant, model, loaded, outputs: await loaded.run(), times: [] });
        } catch (error) {
          note(`${entrant.name} refuses ${model.name}: ${(error as Error).message}`);
        }
      }
    }
    if (lanes.length === 0) throw new Error('no runtime takes this model');
    element('results').hidden = false;
    await measure(lanes, rounds);
    const nodes = await profile(models[0].bytes, feeds.get(models[0])!).catch(() => []);
    const rows = lanes.map(lane => summarize(lane, lanes));
    const cores = navigator.hardwareConcurrency;
    return {
      isolated: globalThis.crossOriginIsolated,
      cores,
      userAgent: navigator.userAgent,
      versions,
      rounds,
      rows,
      nodes,
    };
  } finally {
    for (const { loaded } of lanes) await loaded.release();
  }
}

/** In turns, so that a change in the machine's load meets all alike; the first turn of each only warms up. */
async function measure(lanes: readonly Lane[], rounds: number): Promise<void> {
  for (const lane of lanes) {
    status(`Warming up: ${lane.entrant.name} …`);
    await pause();
    const begin = performance.now();
    // Half a second, for engines to compile their better code; less before a short race.
    const enough = Math.min(500, 50 * rounds);
    for (let run = 0; run < 3 || performance.now() - begin < enough; run++) await lane.loaded.run();
  }
  for (let round = 1; round <= rounds; round++) {
    status(`Round ${round} of ${rounds}`);
    for (const { loaded, times } of lanes) {
      await pause();
      const begin = performance.now();
      let runs = 0;
      // Clocks of pages are coarse: several runs of a small model make one measurement.
      do {
        await loaded.run();
        runs++;
      } while (performance.now() - begin < 5);
      times.push((performance.now() - begin) / runs);
    }
    draw(lanes);
  }
  status('');
}

function summarize({ entrant, model, outputs, times }: Lane, lanes: readonly Lane[]): Row {
  const same = lanes.filter(lane => lane.model === model);
  const reference = same.find(lane => lane.entrant.kind === 'other') ?? same[0];
  let difference = 0;
  for (const [name, { data: wanted }] of Object.entries(reference.outputs)) {
    let [largest, apart] = [0, 0];
    for (let i = 0; i < wanted.length; i++) {
      largest = Math.max(largest, Math.abs(Number(wanted[i])));
      apart = Math.max(apart, Math.abs(Number(outputs[name].data[i]) - Number(wanted[i])));
    }
    difference = Math.max(difference, apart / (largest || 1));
  }
  const [p10, median, p90] = [0.1, 0.5, 0.9].map(q => quantile(times, q));
  return { runtime: entrant.name, threads: entrant.threads, model: model.name, median, p10, p90, difference };
}

const threadsText = (threads: number): string => (threads === 1 ? '1 thread' : `${threads} threads`);

function draw(lanes: readonly Lane[]): void {
  const bars = element('bars');
  bars.classList.toggle('several', models.length > 1);
  if (bars.children.length !== lanes.length) {
    bars.replaceChildren(
      ...lanes.map(({ entrant, model }) => {
        const lane = make('div', '', `lane ${entrant.kind}`);
        const label = make('span', `${entrant.name} `);
        label.append(
          make(
            'small',
            models.length > 1 ? `${threadsText(entrant.threads)}, ${model.name}` : threadsText(entrant.threads),
          ),
        );
        const track = make('div', '', 'track');
        track.append(make('div', '', 'fill'));
        lane.append(label, track, make('span', '', 'speed'));
        return lane;
      }),
    );
  }
  const speeds = lanes.map(({ times }) => 1000 / quantile(times, 0.5));
  const best = Math.max(...speeds);
  lanes.forEach((_, i) => {
    const lane = bars.children[i];
    lane.querySelector<HTMLElement>('.fill')!.style.width = `${(100 * speeds[i]) / best}%`;
    lane.querySelector('.speed')!.textContent = speeds[i].toFixed(speeds[i] < 100 ? 1 : 0);
  });
}

/** Rows of text cells; columns from `numbers` on are numbers. */
function fillTable(id: string, heads: readonly string[], rows: readonly (readonly string[])[], numbers: number): void {
  const row = (cells: readonly string[], tag: string): HTMLElement => {
    const line = make('tr');
    line.append(...cells.map((cell, i) => make(tag, cell, i < numbers ? 'text' : '')));
    return line;
  };
  element(id).replaceChildren(row(heads, 'th'), ...rows.map(cells => row(cells, 'td')));
}

function show(result: Result): void {
  const { rows, nodes, versions } = result;
  const several = models.length > 1;
  const rival =
    rows.find(r => r.runtime === 'onnxruntime-web') ?? rows.find(r => r.runtime.includes('dense')) ?? rows[0];
  fillTable(
    'table',
    [
      'runtime',
      ...(several ? ['model'] : []),
      'threads',
      'median ms',
      'p10 … p90',
      `vs ${rival.runtime}`,
      'differs by',
    ],
    rows.map(r => [
      ...[r.runtime, ...(several ? [r.model] : [])],
      ...[String(r.threads), short(r.median), `${short(r.p10)} … ${short(r.p90)}`],
      `${(rival.median / r.median).toFixed(2)}×`,
      r.difference === 0 ? '0' : r.difference.toExponential(0),
    ]),
    several ? 2 : 1,
  );
  fillTable(
    'node-table',
    ['node', 'operator', 'kernel', 'output', 'density', 'ms'],
    nodes
      .filter(n => n.kernel !== 'alias')
      .map(n => [
        ...[n.name, n.op, n.kernel, n.outputs.map(dims => dims.join('×')).join(', ')],
        n.density === undefined ? '' : `${(100 * n.density).toFixed(1)} %`,
        (n.ms ?? 0).toFixed(3),
      ]),
    4,
  );
  element('nodes').hidden = nodes.length === 0;
  element('machine').textContent = [
    threadsText(result.cores).replace('thread', 'core'),
    result.isolated ? 'cross-origin isolated' : 'not cross-origin isolated',
    ...Object.entries(versions).map(([name, v]) => `${name} ${v}`),
    `medians of ${result.rounds}`,
  ].join(' · ');
  element('download').onclick = () => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([JSON.stringify(result, null, 1)], { type: 'application/json' }));
    link.download = 'race.json';
    link.click();
    URL.revokeObjectURL(link.href);
  };
}

/** Runs one action at a time; what it throws is shown. `data-state` tells how it went. */
async function act(action: () => Promise<void>): Promise<void> {
  const buttons = document.querySelectorAll('button');
  document.documentElement.dataset.state = 'busy';
  for (const button of buttons) button.disabled = true;
  try {
    await action();
    document.documentElement.dataset.state = 'done';
  } catch (error) {
    status((error as Error).message, true);
    document.documentElement.dataset.state = 'failed';
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

const start = (): Promise<void> =>
  act(async () => {
    const result = await race();
    show(result);
    (globalThis as { raceResult?: Result }).raceResult = result;
  });

async function fetched(url: string): Promise<Model> {
  status(`Fetching ${url} …`);
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const name = decodeURIComponent(new URL(url, document.baseURI).pathname.split('/').at(-1)!);
  return { name, bytes: new Uint8Array(await response.arrayBuffer()) };
}

const takeFiles = (list: FileList | null | undefined): void => {
  const files = [...(list ?? [])].slice(0, 2);
  if (files.length === 0) return;
  void act(async () =>
    choose(await Promise.all(files.map(async f => ({ name: f.name, bytes: new Uint8Array(await f.arrayBuffer()) })))),
  );
};

element('form').addEventListener('submit', event => {
  event.preventDefault();
  void start();
});
element<HTMLInputElement>('file').addEventListener('change', event =>
  takeFiles((event.target as HTMLInputElement).files),
);
const drop = element('drop');
for (const [type, over] of [
  ['dragover', true],
  ['dragleave', false],
  ['drop', false],
] as const) {
  drop.addEventListener(type, event => {
    event.preventDefault();
    drop.classList.toggle('over', over);
    if (type === 'drop') takeFiles(event.dataTransfer?.files);
  });
}
for (const [label, file] of [
  ['dense', 'mobilenet-0.onnx'],
  ['80 % zeros', 'mobilenet-80.onnx'],
  ['90 % zeros', 'mobilenet-90.onnx'],
  ['95 % zeros', 'mobilenet-95.onnx'],
]) {
  const button = Object.assign(make('button', label), { type: 'button' });
  button.addEventListener('click', () => act(async () => choose([await fetched(`demo/${file}`)])).then(start));
  element('demos').append(button);
}

const query = new URLSearchParams(location.search);
const urls = ['model', 'vs'].flatMap(key => query.get(key) ?? []);
if (query.has('rounds')) element<HTMLInputElement>('rounds').value = query.get('rounds')!;
if (urls.length > 0) {
  await act(async () => choose(await Promise.all(urls.map(fetched))));
  if (document.documentElement.dataset.state === 'done') await start();
}
