import { existsSync, readFileSync } from 'node:fs';
import { discoverMethods } from '../../methods/method.ts';
import { table } from '../../text.ts';
import { type CommonOptions, command as define, Output } from '../command.ts';

const results = new URL('../../../results/', import.meta.url);

/** The verdict of the kept result, or that there is none yet. */
function status(slug: string): string {
  const file = new URL(`${slug}.json`, results);
  return existsSync(file) ? String(JSON.parse(readFileSync(file, 'utf8')).verdict) : 'no kept result';
}

/** The authors and year that a reference ends with. */
const authors = (paper: string): string => /\(([^()]*)\)$/.exec(paper)?.[1] ?? paper;

export const command = define('methods', '--json', c =>
  c.action(async (options: CommonOptions) => {
    const methods = (await discoverMethods()).map(({ module: _, ...info }) => ({ ...info, status: status(info.slug) }));
    new Output(options).result(methods, () =>
      table(
        ['method', 'family', 'kind', 'status', 'paper'],
        methods.map(m => [m.slug, m.family, m.kind, m.status, authors(m.paper)]),
      ),
    );
  }),
);
