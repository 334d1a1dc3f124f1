// Builds the packages as they are published: `dist/<package>` with JavaScript, type declarations and a package.json of its own.
// Inside the repository Node runs the TypeScript directly; under node_modules it would not.
import { execFileSync } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';

const root = join(import.meta.dirname, '..');
const out = process.argv[2] ?? join(root, 'dist');

/** `./src/x.ts` in a package.json becomes `./x.js` for the program and `./x.d.ts` for types. */
const built = (path: string, extension: string) => path.replace('./src/', './dist/').replace(/\.ts$/, extension);

function exported(target: unknown): unknown {
  if (typeof target === 'string') return { types: built(target, '.d.ts'), default: built(target, '.js') };
  return Object.fromEntries(Object.entries(target as object).map(([key, value]) => [key, exported(value)]));
}

execFileSync(process.execPath, [join(root, 'packages/runtime/scripts/build-kernels.ts')], { stdio: 'inherit' });

for (const name of ['tensor', 'runtime', 'gossamer']) {
  const source = join(root, 'packages', name);
  const target = join(out, name);
  rmSync(target, { recursive: true, force: true });
  execFileSync(
    process.execPath,
    [
      join(root, 'node_modules/typescript/bin/tsc'),
      '-p',
      join(source, 'tsconfig.build.json'),
      '--outDir',
      join(target, 'dist'),
    ],
    { stdio: 'inherit' },
  );
  // What scripts load from beside them.
  for (const path of readdirSync(join(source, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (extname(path) === '.wasm') cpSync(join(source, 'src', path), join(target, 'dist', path));
  }
  const {
    files: _files,
    scripts: _scripts,
    devDependencies: _dev,
    ...manifest
  } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  manifest.exports = exported(manifest.exports);
  if (manifest.imports) {
    manifest.imports = JSON.parse(
      JSON.stringify(manifest.imports).replaceAll(/"\.\/src\/([^"]*)\.ts"/g, '"./dist/$1.js"'),
    );
  }
  if (manifest.bin)
    manifest.bin = JSON.parse(JSON.stringify(manifest.bin).replaceAll(/"\.\/src\/([^"]*)\.ts"/g, '"./dist/$1.js"'));
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  cpSync(join(root, 'LICENSE'), join(target, 'LICENSE'));
  cpSync(join(root, 'README.md'), join(target, 'README.md'));
}
