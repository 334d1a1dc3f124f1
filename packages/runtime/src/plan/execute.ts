/** Runs a plan: feeds into memory, kernels and plain operators in order, results out of it. */
import type { Context } from '../ops/operator.ts';
import { operatorKey } from '../ops/operator.ts';
import type { NumericArray, Value } from '../values.ts';
import type { Machine, Plan } from './builder.ts';

const none: Context = {
  evaluate() {
    throw new Error('control flow runs outside plans');
  },
};

/** The results, copied out of the memory. `profile` writes milliseconds into the plan's reports. */
export async function execute(
  { memory, threads, operators }: Machine,
  plan: Plan,
  feeds: ReadonlyMap<string, Value>,
  profile: boolean,
): Promise<Map<string, Value>> {
  const { values, constants, reports } = plan;
  /** Values outside the memory: strings. */
  const outside = new Map<string, Value>();
  const view = (name: string): NumericArray => {
    const { type, address, length } = values.get(name)!;
    return memory.view(type, address, length);
  };
  const read = (name: string): Value | undefined => {
    if (name === '') return undefined;
    const kept = constants.get(name) ?? outside.get(name);
    if (kept) return kept;
    const { type, dims } = values.get(name)!;
    return { type, dims, data: view(name) };
  };
  const write = (name: string, value: Value | undefined): void => {
    if (name === '' || !value) return;
    if (value.type === 'string') outside.set(name, value);
    else if (values.has(name)) view(name).set(value.data as never);
  };
  for (const name of plan.feeds) write(name, feeds.get(name) ?? constants.get(name));
  if (profile) for (const report of reports) report.ms = 0;
  for (const segment of plan.segments) {
    if ('program' in segment) {
      threads.run(segment.program, profile ? (i, ms) => (reports[segment.reports[i]].ms! += ms) : undefined);
      continue;
    }
    const begin = profile ? performance.now() : 0;
    if ('run' in segment) {
      await segment.run();
    } else {
      const { node } = segment;
      const outputs = operators[operatorKey(node)].run(node, node.inputs.map(read), none);
      node.outputs.forEach((name, i) => write(name, outputs[i]));
    }
    if (profile) reports[segment.report].ms! += performance.now() - begin;
  }
  const results = new Map<string, Value>();
  for (const name of plan.results) {
    const { type, dims, data } = read(name)!;
    results.set(name, { type, dims, data: type === 'string' ? data : (data as NumericArray).slice() });
  }
  return results;
}
