/** What the kernels cost on this machine: measured when a sparse model is first loaded, and kept. */
import './shared.ts';
import { calibrate, isWide } from '../kernels/calibrate.ts';
import type { Rates } from '../kernels/cost.ts';
import { type Build, instantiate } from '../kernels/module.ts';
import { version } from '../version.ts';

export interface Tuning {
  readonly rates: Rates;
  /** The engine joins pairs of vector operations to 256 bits. */
  readonly wide: boolean;
}

/** Memory that calibration works in. */
const REGION = { address: 65536, bytes: 40 << 20 };

const inNode = (): boolean => typeof process !== 'undefined' && process.versions?.node !== undefined;

/** What the measurements depend on. */
async function machine(build: Build, revectorize: boolean): Promise<string> {
  const parts = [version, build, revectorize ? 'wide' : ''];
  if (!inNode()) return [...parts, navigator.userAgent].join(' ');
  const { cpus } = await import('node:os');
  return [...parts, process.versions.v8, cpus()[0]?.model ?? ''].join(' ');
}

/** A file in the user's cache folder, or the page's storage. Where neither can be used, the machine is measured anew. */
async function kept(name: string): Promise<{ get(): Promise<string | null>; set(text: string): Promise<void> }> {
  if (!inNode()) {
    return {
      get: async () => globalThis.localStorage?.getItem(name) ?? null,
      set: async text => globalThis.localStorage?.setItem(name, text),
    };
  }
  const { homedir } = await import('node:os');
  const { mkdir, readFile, rename, writeFile } = await import('node:fs/promises');
  const folder = `${process.env.XDG_CACHE_HOME ?? `${homedir()}/.cache`}/gossamer`;
  const path = `${folder}/${name.replaceAll(/[^\w.-]+/g, '-')}.json`;
  return {
    get: () => readFile(path, 'utf8'),
    async set(text) {
      await mkdir(folder, { recursive: true });
      await writeFile(`${path}.${process.pid}`, text);
      await rename(`${path}.${process.pid}`, path);
    },
  };
}

function parsed(text: string | null): Tuning | undefined {
  const found = text === null ? undefined : (JSON.parse(text) as Partial<Tuning>);
  const rates = Object.values(found?.rates ?? {});
  const valid = rates.length > 0 && rates.every(rate => rate.length === 3 && rate.every(Number.isFinite));
  return valid ? (found as Tuning) : undefined;
}

async function measure(build: Build, revectorize: boolean): Promise<Tuning> {
  const memory = new WebAssembly.Memory({ initial: (REGION.address + REGION.bytes) / 65536 + 1, maximum: 65536 });
  const kernels = await instantiate(build, memory);
  const region = { memory, ...REGION };
  const wide = revectorize && (await isWide(kernels, region));
  return { rates: await calibrate(kernels, region), wide };
}

const KNOWN = new Map<string, Promise<Tuning>>();

/** Rates of a build: from this process, from the cache, or measured (a fraction of a second). */
export async function tune(build: Build, revectorize: boolean): Promise<Tuning> {
  const name = `runtime ${await machine(build, revectorize)}`;
  let tuning = KNOWN.get(name);
  if (!tuning) {
    tuning = (async () => {
      const store = await kept(name).catch(() => undefined);
      const old = await store
        ?.get()
        .then(parsed)
        .catch(() => undefined);
      if (old) return old;
      const measured = await measure(build, revectorize);
      await store?.set(JSON.stringify(measured)).catch(() => undefined);
      return measured;
    })();
    KNOWN.set(name, tuning);
    tuning.catch(() => KNOWN.delete(name));
  }
  return tuning;
}
