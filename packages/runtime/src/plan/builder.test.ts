import { describe, expect, it } from 'vitest';
import { FormatError } from '../errors.ts';
import type { Node } from '../load/graph.ts';
import { Memory } from '../memory.ts';
import { loadOperators } from '../ops/index.ts';
import type { Call, Threads } from '../threads.ts';
import { type Info, sizeOf, type Value } from '../values.ts';
import { plan } from './builder.ts';
import { execute } from './execute.ts';
import type { Lower, Lowerings } from './lowering.ts';
import type { Machine, Plan, Source } from './plan.ts';

const operators = await loadOperators();

/** y = f(a, b) in place where that may be. */
const elementwise: Lower = l => {
  const inputs = l.node.inputs.map((_, i) => l.x(i));
  const y = l.node.inputs.map((_, i) => l.reuse(i)).at(-1)!;
  l.emitter.step(l.node.op, ...inputs, y);
  return true;
};

const lowerings: Lowerings = {
  Relu: elementwise,
  Neg: elementwise,
  Add: elementwise,
  Mul: elementwise,
  Reshape: l => {
    l.alias(0);
    return true;
  },
  Split: l => {
    let offset = 0;
    l.outputs.forEach((out, o) => {
      l.alias(0, o, offset);
      offset += 4 * sizeOf(out.dims);
    });
    return true;
  },
  Concat: l => {
    const y = l.y();
    let offset = 0;
    l.inputs.forEach((x, i) => {
      if (!l.inPlace(i, offset)) l.emitter.step('copy', l.x(i), y, offset);
      offset += 4 * sizeOf(x!.dims);
    });
    return true;
  },
  MatMul: l => {
    const weight = l.weight(1);
    if (!weight) return false;
    const packed = l.emitter.constant(`${weight.key} packed`, () => weight.data.toReversed());
    const scratch = l.emitter.scratch(1000);
    l.emitter.step('matmul', l.x(0), packed, scratch, l.y());
    return true;
  },
  Softmax: l => {
    l.emitter.step('half done', l.x(0), l.y());
    return false;
  },
};

let made = 0;
const node = (op: string, inputs: string[], outputs: string[], attributes: Node['attributes'] = {}): Node => ({
  name: `${op}_${made++}`,
  op,
  domain: '',
  version: 13,
  inputs,
  outputs,
  attributes,
});

function machineOf(): Machine {
  const prepare = (calls: readonly Call[]) => ({ calls, address: 0, words: 0, id: 0 });
  const threads = { count: 1, prepare, run() {} } as unknown as Threads;
  return {
    memory: new Memory(false),
    threads,
    adaptive: false,
    operators,
    lowerings,
    constants: new Map(),
    release() {},
  };
}

interface Case extends Partial<Source> {
  nodes: Node[];
  outputs: string[];
  feeds?: Record<string, Info>;
  machine?: Machine;
}

function build({ machine = machineOf(), feeds = { x: info(2, 3) }, ...source }: Case): Plan {
  const all = { constants: new Map(), quantized: new Map(), fixed: false, ...source };
  return plan(machine, all, new Map(Object.entries(feeds)));
}

const info = (...dims: number[]): Info => ({ type: 'float32', dims });
const floats = (dims: number[], ...data: number[]): Value => ({ type: 'float32', dims, data: Float32Array.from(data) });
const calls = (p: Plan): Call[] =>
  p.segments.flatMap(segment => ('program' in segment ? (segment.program.calls as unknown as Call[]) : []));

describe('in place', () => {
  it('a chain of elementwise operators needs one buffer', () => {
    const p = build({
      nodes: [node('Relu', ['x'], ['a']), node('Neg', ['a'], ['b']), node('Relu', ['b'], ['y'])],
      outputs: ['y'],
    });
    expect(new Set(calls(p).flatMap(call => call.args)).size).toBe(1);
    expect(p.arenaBytes).toBe(64);
    expect(p.reports.map(report => report.kernel)).toEqual(['Relu', 'Neg', 'Relu']);
  });

  it.each<[string, Node[], string[]]>([
    ['a graph output', [node('Relu', ['x'], ['a']), node('Neg', ['a'], ['y'])], ['a', 'y']],
    [
      'a value that is read later',
      [node('Relu', ['x'], ['a']), node('Neg', ['a'], ['b']), node('Add', ['b', 'a'], ['y'])],
      ['y'],
    ],
    [
      'a view of a graph output',
      [node('Relu', ['x'], ['a']), node('Split', ['a'], ['s', 't'], { axis: 0 }), node('Neg', ['s'], ['y'])],
      ['a', 'y', 't'],
    ],
    ['a feed that is an output', [node('Neg', ['x'], ['y'])], ['x', 'y']],
  ])('%s is not overwritten', (_name, nodes, outputs) => {
    const p = build({ nodes, outputs });
    const neg = calls(p).find(call => call.kernel === 'Neg')!;
    expect(neg.args[0]).not.toBe(neg.args[1]);
  });

  it('an operand that is broadcast is not overwritten, even at the start of a buffer of the right size', () => {
    const split = node('Split', ['a'], ['s', 't'], { axis: 0 });
    const p = build({
      nodes: [node('Relu', ['x'], ['a']), split, node('Mul', ['s', 'z'], ['y'])],
      outputs: ['y'],
      feeds: { x: info(2, 3), z: info(2, 3) },
    });
    const [s, , y] = calls(p)[1].args;
    expect(y).not.toBe(s);
  });

  it('the same value twice may be', () => {
    const p = build({ nodes: [node('Relu', ['x'], ['a']), node('Add', ['a', 'a'], ['y'])], outputs: ['y'] });
    expect(new Set(calls(p)[1].args).size).toBe(1);
  });
});

describe('concatenation', () => {
  it('is free where its inputs can be made in it, also when nested', () => {
    const inner = node('Concat', ['a', 'b'], ['c'], { axis: 0 });
    const p = build({
      nodes: [
        node('Relu', ['x'], ['a']),
        node('Neg', ['x'], ['b']),
        inner,
        node('Relu', ['x'], ['d']),
        node('Concat', ['d', 'c'], ['y'], { axis: -2 }),
      ],
      outputs: ['y'],
    });
    const [a, b, d] = calls(p).map(call => call.args.at(-1)!);
    expect([a - d, b - a]).toEqual([24, 24]);
    expect(calls(p).length).toBe(3);
    expect(p.values.get('y')!.address).toBe(d);
    // 4 parts of 24 bytes … and x.
    expect(p.arenaBytes).toBe(64 + 128);
  });

  it('copies feeds, values of other concatenations, repetitions and views', () => {
    const kinds = (nodes: Node[], outputs: string[]) => calls(build({ nodes, outputs })).map(call => call.kernel);
    expect(kinds([node('Concat', ['x', 'x'], ['y'], { axis: 0 })], ['y'])).toEqual(['copy', 'copy']);
    const a = node('Relu', ['x'], ['a']);
    expect(kinds([a, node('Concat', ['a', 'a'], ['y'], { axis: 0 })], ['y'])).toEqual(['Relu', 'copy']);
    const two = ['y', 'z'].map(name => node('Concat', ['a'], [name], { axis: 0 }));
    expect(kinds([a, ...two], ['y', 'z'])).toEqual(['Relu', 'copy']);
    const view = node('Split', ['x'], ['s', 't'], { axis: 0 });
    expect(kinds([view, node('Concat', ['t', 's'], ['y'], { axis: 0 })], ['y'])).toEqual(['copy', 'copy']);
    expect(kinds([a, node('Concat', ['a', 'x'], ['y'], { axis: 1 })], ['y'])).toEqual(['Relu', 'copy', 'copy']);
  });
});

describe('constants', () => {
  const w = floats([3, 2], 1, 2, 3, 4, 5, 6);

  it('are packed and written once for all shapes', () => {
    const machine = machineOf();
    const constants = new Map([['w', w]]);
    const nodes = [node('MatMul', ['x', 'w'], ['y'])];
    const address = [2, 5].map(
      n => calls(build({ machine, nodes, outputs: ['y'], constants, feeds: { x: info(n, 3) } }))[0].args[1],
    );
    expect(address[0]).toBe(address[1]);
    expect([...machine.memory.view('float32', address[0], 6)]).toEqual([6, 5, 4, 3, 2, 1]);
    expect(machine.constants.size).toBe(1);
  });

  it('have keys that no name can imitate', () => {
    const machine = machineOf();
    const constants = new Map([
      ['w', w],
      ['w packed', floats([2], 7, 8)],
      ['1:w packed', floats([2], 9, 9)],
    ]);
    const nodes = [
      node('MatMul', ['x', 'w'], ['a']),
      node('Add', ['a', 'w packed'], ['b']),
      node('Add', ['b', '1:w packed'], ['y']),
    ];
    build({ machine, nodes, outputs: ['y'], constants });
    expect(new Set([...machine.constants.values()].map(c => c.address)).size).toBe(3);
  });

  it('that shapes make are copied in on every run, unless shapes are fixed', async () => {
    const nodes = [node('Shape', ['x'], ['s']), node('Cast', ['s'], ['f'], { to: 1 }), node('Add', ['z', 'f'], ['y'])];
    const feeds = { x: info(2, 3), z: info(2) };
    const fixed = machineOf();
    expect(build({ machine: fixed, nodes, outputs: ['y'], fixed: true, feeds }).feeds).toEqual(['z']);
    expect(fixed.constants.size).toBe(1);
    const machine = machineOf();
    const p = build({ machine, nodes, outputs: ['y'], feeds });
    expect(p.feeds).toEqual(['z', 'f']);
    expect(machine.constants.size).toBe(0);
    await execute(machine, p, new Map([['z', floats([2], 0, 0)]]), false);
    const { address } = p.values.get('f')!;
    expect([...machine.memory.view('float32', address, 2)]).toEqual([2, 3]);
    // Its memory is taken throughout.
    expect(calls(p)[0].args[1]).toBe(address);
    expect(calls(p)[0].args[2]).not.toBe(address);
  });

  it('that feeds decide are never kept for good', () => {
    const k: Value = { type: 'int64', dims: [2], data: BigInt64Array.of(3n, 2n) };
    const machine = machineOf();
    const nodes = [node('Cast', ['k'], ['f'], { to: 1 }), node('Add', ['x', 'f'], ['y'])];
    const p = build({
      machine,
      nodes,
      outputs: ['y'],
      feeds: { x: info(2), k: { ...info(2), type: 'int64', value: k } },
    });
    expect(machine.constants.size).toBe(0);
    expect(p.constants.get('f')!.data).toEqual(Float32Array.of(3, 2));
  });

  it('of fixed plans do not hold the file', () => {
    const file = new Float32Array(1000);
    const part: Value = { type: 'float32', dims: [3], data: file.subarray(5, 8) };
    const nodes = [node('Cos', ['c'], ['z']), node('Gather', ['c', 'i'], ['y'])];
    const feeds = { i: { type: 'int64', dims: [1] } as Info };
    const p = build({ nodes, outputs: ['y'], constants: new Map([['c', part]]), fixed: true, feeds });
    const kept = p.constants.get('c')!.data as Float32Array;
    expect(kept.buffer.byteLength).toBe(12);
  });
});

describe('plain operators', () => {
  it('run where a lowering declines, without what it had begun', () => {
    const p = build({
      nodes: [node('Relu', ['x'], ['a']), node('Softmax', ['a'], ['y']), node('Neg', ['y'], ['z'])],
      outputs: ['z'],
    });
    expect(p.segments.map(s => ('node' in s ? s.node.op : 'program' in s && s.program.calls.length))).toEqual([
      1,
      'Softmax',
      1,
    ]);
    expect(p.reports[1].kernel).toBe('plain');
  });

  it('run on empty values', () => {
    const p = build({ nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'], feeds: { x: info(0, 3) } });
    expect(p.segments).toMatchObject([{ node: { op: 'Relu' } }]);
  });

  it('may not return another shape than was planned', async () => {
    const machine = machineOf();
    const wrong = { ...operators, Cos: { ...operators.Cos, infer: () => [info(2, 2)] } };
    const p = build({ machine: { ...machine, operators: wrong }, nodes: [node('Cos', ['x'], ['y'])], outputs: ['y'] });
    const feeds = new Map([['x', floats([2, 3], 1, 2, 3, 4, 5, 6)]]);
    await expect(execute(machine, p, feeds, false)).rejects.toThrow(/Cos.*output \[2,3\] was planned as \[2,2\]/);
  });
});

describe('plan', () => {
  it('computes only what outputs need', () => {
    const p = build({
      nodes: [node('Relu', ['x'], ['a']), node('Neg', ['x'], ['y'])],
      outputs: ['y'],
      feeds: { x: info(2), u: info(3) },
    });
    expect(p.reports.map(report => report.op)).toEqual(['Neg']);
    expect(p.feeds).toEqual(['x']);
  });

  it('refuses an output that nothing makes', () => {
    expect(() => build({ nodes: [], outputs: ['q'] })).toThrow(FormatError);
  });

  it('hands constants to the next stage only once', () => {
    const w = floats([3], 1, 2, 3);
    const nodes = [node('NonZero', ['x'], ['i']), node('Mul', ['x', 'w'], ['y']), node('GatherND', ['w', 'i'], ['z'])];
    const p = build({ nodes, outputs: ['y', 'z'], constants: new Map([['w', w]]) });
    expect(p.results).toEqual(['y', 'x']);
    expect(p.rest!.nodes.map(n => n.op)).toEqual(['NonZero', 'GatherND']);
  });
});
