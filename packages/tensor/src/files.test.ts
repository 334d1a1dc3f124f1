import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import { GossamerError } from './errors.ts';
import { openRandomAccess } from './files.ts';
import { encodeSafetensors, openSafetensors } from './safetensors.ts';

/** Runs `use` with the address of a server on this machine. */
async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  use: (origin: string) => Promise<void>,
): Promise<void> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

describe('http', () => {
  const weight = Float32Array.from({ length: 50_000 }, (_, i) => i);
  const bytes = encodeSafetensors({
    weight: { dtype: 'float32', shape: [50_000], data: weight },
    step: { dtype: 'int64', shape: [], data: BigInt64Array.of(7n) },
  });

  it('asks for the ranges it needs and nothing more', async () => {
    let sent = 0;
    await serve(
      (request, response) => {
        const [begin, end] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range!)!.slice(1).map(Number);
        sent += end + 1 - begin;
        response.writeHead(206, { 'content-range': `bytes ${begin}-${end}/${bytes.length}` });
        response.end(bytes.subarray(begin, end + 1));
      },
      async origin => {
        await using file = await openSafetensors(`${origin}/m.safetensors`);
        expect([...(await file.read('step')).data]).toEqual([7n]);
        expect(sent).toBeLessThan(400);
        expect((await file.read('weight')).data).toEqual(weight);
      },
    );
  });

  it('downloads all from a server without ranges, and follows an index to the shards beside it', async () => {
    await serve(
      (request, response) => {
        if (request.url === '/a/m.index.json?v=1') response.end('{"weight_map":{"step":"m 1.safetensors"}}');
        else if (request.url === '/a/m%201.safetensors') response.end(bytes);
        else response.writeHead(404).end();
      },
      async origin => {
        await using file = await openSafetensors(new URL(`${origin}/a/m.index.json?v=1`));
        expect(file.names()).toEqual(['step']);
        expect([...(await file.read('step')).data]).toEqual([7n]);
        await expect(openRandomAccess(`${origin}/none`)).rejects.toThrow(
          new GossamerError(`${origin}/none: cannot be fetched: HTTP status 404`),
        );
      },
    );
  });

  it('says so if the server is not there or the address is none', async () => {
    await expect(openRandomAccess('http://127.0.0.1:1/x')).rejects.toThrow(/^http:.*\/x: cannot be fetched: /);
    await expect(openRandomAccess('http://')).rejects.toThrow(new GossamerError('http://: not a valid URL'));
  });
});
