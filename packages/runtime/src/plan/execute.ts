/** Runs a plan: feeds into memory, kernels and plain operators in order, results out of it. */
import { RuntimeError } from '../errors.ts';
import { type Context, describe, operatorKey } from '../ops/operator.ts';
import { type NumericArray, sizeOf, type Value } from '../values.ts';
import type { Machine, Plan } from './plan.ts';

const none: Context = {
  evaluate() {
    throw new Error('control flow runs outside plans');
  },
};

/** The results, copied out of the memory. `profile` writes milliseconds into the plan's reports. */
export async function execute(
  { memory, threads, operators }: Machine,
  { values, constants, feeds: inputs, segments, results, reports }: Plan,
  feeds: ReadonlyMap<string, Value>,
  profile: boolean,
): Promise<Map<string, Value>> {
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
  const write = (name: string, value: Value): void => {
    if (value.type === 'string') outside.set(name, value);
    else if (values.has(name)) view(name).set(value.data as never);
  };

  for (const name of inputs) write(name, (feeds.get(name) ?? constants.get(name))!);
  if (profile) for (const report of reports) report.ms = 0;
  for (const segment of segments) {
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
      for (const [i, name] of node.outputs.entries()) {
        const value = outputs[i];
        if (name === '' || !value) continue;
        const planned = values.get(name);
        // Numbers would end in the memory of other values.
        if (planned && sizeOf(value.dims) !== planned.length)
          throw new RuntimeError(`${describe(node)}: output [${value.dims}] was planned as [${planned.dims}]`);
        write(name, value);
      }
    }
    if (profile) reports[segment.report].ms! += performance.now() - begin;
  }

  const made = new Map<string, Value>();
  for (const name of results) {
    const { type, dims, data } = read(name)!;
    made.set(name, { type, dims, data: type === 'string' ? data : (data as NumericArray).slice() });
  }
  return made;
}
