import { describe, expect, it } from 'vitest';
import manifest from '../../package.json' with { type: 'json' };
import { gossamer, gossamerProcess } from './testing.ts';

describe('gossamer', () => {
  it('lists the commands, and explains each with an example', async () => {
    const { code, stdout, stderr } = await gossamer('--help');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const name of ['demo', 'inspect', 'compress', 'bench', 'train', 'methods', 'reproduce']) {
      expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
    const help = await gossamer('help', 'compress');
    expect(help.code).toBe(0);
    expect(help.stdout).toContain('Example:\n  $ gossamer compress model.onnx');
    expect(help.stdout).toContain('wanda');
  });

  it('is a program with an exit code', async () => {
    expect(await gossamerProcess('--version')).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' });
    const { code, stdout, stderr } = await gossamerProcess('inspect', 'none.onnx');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/^error: none\.onnx: cannot be opened: [^\n]+\n$/);
  });

  it('ends with 2 and says what is wrong where it is used wrongly', async () => {
    const wrong: [string[], string][] = [
      [[], 'Usage: gossamer'],
      [['inspct'], "unknown command 'inspct'"],
      [['inspect'], "missing required argument 'model'"],
      [['inspect', 'm.onnx', '--jason'], "unknown option '--jason'"],
      [['inspect', 'm.onnx', '--shape', 'x'], 'Expected name=sizes'],
      [['compress', 'm.onnx', '--sparsity', '0.9'], "required option '-o, --out <file.onnx>' not specified"],
      [['compress', 'm.onnx', '--sparsity', '1', '-o', 'o.onnx'], 'Expected a number from 0 to below 1'],
      [['compress', 'm.onnx', '-o', 'o.onnx'], 'give --sparsity'],
      [['compress', 'm.onnx', '-o', 'o.onnx', '--pattern', 'diagonal'], "granularity 'diagonal'"],
      [['compress', 'm.onnx', '-o', 'o.onnx', '--sparsity', '0.5', '--method', 'snip'], '--method snip needs --data'],
      [['bench', 'm.onnx', '--threads', '0'], 'Expected a whole number of 1 or more'],
      [['train'], 'give a recipe, or --model and --data'],
      [['train', 'recipe.ts', '--lr', '0.1'], 'a recipe decides itself about lr'],
      [['reproduce'], 'give one method, or --all'],
    ];
    for (const [args, message] of wrong) {
      const result = await gossamer(...args);
      expect({ args, code: result.code, stdout: result.stdout }).toEqual({ args, code: 2, stdout: '' });
      expect(result.stderr).toContain(message);
      expect(result.stderr).not.toMatch(/\n\s+at /);
    }
  });

  it('lists the methods as a table and as JSON', async () => {
    const text = await gossamer('methods');
    const json = await gossamer('methods', '--json');
    expect([text.code, text.stderr, json.code, json.stderr]).toEqual([0, '', 0, '']);
    const slugs = (JSON.parse(json.stdout) as { slug: string }[]).map(m => m.slug);
    expect(slugs).toContain('gradual-magnitude-pruning');
    for (const slug of slugs) expect(text.stdout).toMatch(new RegExp(`^${slug} `, 'm'));
  });
});
