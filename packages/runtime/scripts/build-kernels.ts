// Compiles `assembly/` to `src/kernels/{simd,relaxed}.wasm`; does nothing when both are newer than every source.
import { mkdirSync, readdirSync, renameSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import asc from 'assemblyscript/asc';

const root = join(import.meta.dirname, '..');
const sources = readdirSync(join(root, 'assembly'))
  .filter(name => name.endsWith('.ts'))
  .map(name => join(root, 'assembly', name));
const modified = (path: string) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
const newest = Math.max(...[...sources, import.meta.filename].map(modified));

const FEATURES = { simd: ['simd', 'threads'], relaxed: ['simd', 'relaxed-simd', 'threads'] };

for (const [build, features] of Object.entries(FEATURES)) {
  const target = join(root, 'src/kernels', `${build}.wasm`);
  if (modified(target) > newest) continue;
  mkdirSync(join(root, 'src/kernels'), { recursive: true });
  const temporary = `${target}.${process.pid}.tmp`;
  const begin = new Date();
  const { error, stderr } = await asc.main([
    join(root, 'assembly/index.ts'),
    '--outFile',
    temporary,
    // Loops are unrolled by hand; `s` keeps what is left small.
    '-O3s',
    '--runtime',
    'stub',
    '--noAssert',
    '--importMemory',
    '--initialMemory',
    '1',
    '--maximumMemory',
    '65536',
    '--memoryBase',
    '1024',
    ...features.flatMap(feature => ['--enable', feature]),
  ]);
  if (error) {
    process.stderr.write(`${stderr.toString()}\n`);
    process.exit(1);
  }
  // A source that changed meanwhile is newer.
  utimesSync(temporary, begin, begin);
  renameSync(temporary, target);
}
