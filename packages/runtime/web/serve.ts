// Serves the race page on this machine.
//   npm run race -w packages/runtime [-- model.onnx --vs other.onnx --port 8000 --no-isolation]
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';

export interface ServeOptions {
  /** Default: any free one. */
  readonly port?: number;
  /** Send the headers that make pages cross-origin isolated, so that they have threads. Default true. */
  readonly isolated?: boolean;
  /** Paths of models, served as `files/<name>`. */
  readonly models?: readonly string[];
  /** Folder of onnxruntime-web's files; null: none. Default: that of the installed package. */
  readonly onnxRuntime?: URL | null;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.onnx': 'application/octet-stream',
};

/** The installed onnxruntime-web's files, where there is one. */
function installed(): URL | null {
  try {
    return new URL('.', import.meta.resolve('onnxruntime-web/wasm'));
  } catch {
    return null;
  }
}

async function script(): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [new URL('race.ts', import.meta.url).pathname],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external: ['node:*'],
    logLevel: 'silent',
  });
  return outputFiles[0].contents;
}

/** MobileNetV1 of half the width with so many percent zeros in its 1×1 convolutions. */
async function demo(percent: number): Promise<Uint8Array> {
  const { imageNetwork, pruned } = await import('../bench/networks.ts');
  return pruned(await imageNetwork('mobilenet-v1', 0.5), percent / 100).bytes;
}

/** Starts the server on this machine's own address only. */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  const { isolated = true, models = [], port = 0 } = options;
  const onnxRuntime = options.onnxRuntime === undefined ? installed() : options.onnxRuntime;
  const made = new Map<string, Promise<Uint8Array>>();
  const once = (key: string, make: () => Promise<Uint8Array>): Promise<Uint8Array> => {
    const known = made.get(key) ?? make();
    made.set(key, known);
    return known;
  };
  const find = (path: string): Promise<Uint8Array> | undefined => {
    const [, folder, name] = /^\/(?:(\w+)\/)?([\w.-]*)$/.exec(path) ?? [];
    if (folder === undefined) {
      if (name === '') return readFile(new URL('index.html', import.meta.url));
      if (name === 'race.css') return readFile(new URL(name, import.meta.url));
      if (name === 'race.js') return once(path, script);
      if (/^\w+\.wasm$/.test(name ?? '')) return readFile(new URL(`../src/kernels/${name}`, import.meta.url));
    }
    if (folder === 'ort' && onnxRuntime) return readFile(new URL(name, onnxRuntime));
    if (folder === 'files') {
      const model = models.find(m => basename(m) === name);
      return model === undefined ? undefined : readFile(model);
    }
    const [, percent] = /^mobilenet-(\d\d?)\.onnx$/.exec(name ?? '') ?? [];
    return folder === 'demo' && percent !== undefined ? once(path, () => demo(Number(percent))) : undefined;
  };
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    if (isolated) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    try {
      const bytes = await find(decodeURIComponent(path));
      response.setHeader('Content-Type', TYPES[extname(path) || '.html'] ?? 'application/octet-stream');
      response.statusCode = bytes ? 200 : 404;
      response.end(bytes ?? 'not found');
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      response.statusCode = missing ? 404 : 500;
      response.end(missing ? 'not found' : String(error));
    }
  });
  await new Promise<void>((done, fail) => server.once('error', fail).listen(port, '127.0.0.1', done));
  return server;
}

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      vs: { type: 'string' },
      port: { type: 'string', default: '8000' },
      isolation: { type: 'boolean', default: true },
    },
  });
  const models = [...positionals.slice(0, 1), ...(values.vs === undefined ? [] : [values.vs])];
  const server = await serve({ port: Number(values.port), isolated: values.isolation, models });
  const query = models.map((path, i) => `${i === 0 ? '?model' : '&vs'}=files/${encodeURIComponent(basename(path))}`);
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${query.join('')}`);
}
