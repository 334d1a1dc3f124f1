import { FormatError, type NDArray, sizeOf } from '@gossamer/tensor';
import { ByteReader } from './bytes.ts';
import { decodeElements } from './elements.ts';
import { numpyType } from './npy.ts';
import { rowMajor } from './rows.ts';
import type { Csr } from './sparse.ts';

/**
 * A pickled value. Nothing in a pickle is ever run: the few global names below have fixed meanings here and every other
 * one is refused. Byte strings are Latin-1 text, tuples and lists arrays, dictionaries maps.
 */
export type Pickled = null | boolean | number | bigint | string | NDArray | Csr | Pickled[] | Map<Pickled, Pickled>;

/** An object under construction: a NumPy array, NumPy type or SciPy matrix whose state has not arrived yet. */
class Instance {
  readonly kind: string;
  readonly args: unknown[];
  state: unknown;

  constructor(kind: string, args: unknown[]) {
    this.kind = kind;
    this.args = args;
  }
}

/** What a global name stands for: a class to instantiate, or a function with a fixed meaning. */
class Global {
  readonly kind: string;

  constructor(kind: string) {
    this.kind = kind;
  }
}

const globals: Record<string, string> = {
  'numpy.core.multiarray _reconstruct': 'reconstruct',
  'numpy._core.multiarray _reconstruct': 'reconstruct',
  'numpy ndarray': 'ndarray',
  'numpy dtype': 'dtype',
  'scipy.sparse.csr csr_matrix': 'csr',
  'scipy.sparse._csr csr_matrix': 'csr',
  'collections defaultdict': 'defaultdict',
  'collections OrderedDict': 'dict',
  '__builtin__ list': 'list',
  'builtins list': 'list',
  '__builtin__ dict': 'dict',
  'builtins dict': 'dict',
  '__builtin__ object': 'object',
  'builtins object': 'object',
  'copy_reg _reconstructor': 'reconstructor',
  'copyreg _reconstructor': 'reconstructor',
  '_codecs encode': 'encode',
};

const MARK = Symbol('mark');

/**
 * Reads one pickled value, protocols 0 to 4, as far as plain data, NumPy arrays and SciPy CSR matrices need it.
 * Throws a FormatError for malformed input, for any other class or function, and for objects that contain themselves.
 */
export function readPickle(bytes: Uint8Array, name = 'pickle'): Pickled {
  const machine = new Machine(new ByteReader(bytes, name));
  return machine.run();
}

class Machine {
  readonly #reader: ByteReader;
  #stack: unknown[] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  run(): Pickled {
    const reader = this.#reader;
    for (;;) {
      const at = reader.offset;
      const code = String.fromCharCode(reader.u8('the STOP opcode'));
      if (code === '.') break;
      const operation = this.#operations[code];
      if (!operation) reader.fail(`opcode 0x${code.charCodeAt(0).toString(16)} at offset ${at} is not supported`);
      operation();
    }
    return new Finisher(reader).finish(this.#pop());
  }

  #pop(): unknown {
    if (this.#stack.length === 0) this.#reader.fail(`malformed: empty stack at offset ${this.#reader.offset}`);
    const value = this.#stack.pop();
    if (value === MARK) this.#reader.fail(`malformed: unexpected mark at offset ${this.#reader.offset}`);
    return value;
  }

  #push(value: unknown): void {
    this.#stack.push(value);
  }

  #top(): unknown {
    const value = this.#pop();
    this.#push(value);
    return value;
  }

  /** Everything above the last mark, which is removed. */
  #popMark(): unknown[] {
    const mark = this.#stack.lastIndexOf(MARK);
    if (mark < 0) this.#reader.fail(`malformed: no mark at offset ${this.#reader.offset}`);
    const values = this.#stack.slice(mark + 1);
    this.#stack.length = mark;
    return values;
  }

  #list(): unknown[] {
    const value = this.#top();
    return Array.isArray(value) ? value : this.#reader.fail('malformed: items appended to something that is no list');
  }

  #setItems(items: unknown[]): void {
    const map = this.#top();
    if (!(map instanceof Map) || items.length % 2) this.#reader.fail('malformed: items set on no dictionary');
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  }

  #remember(key: number): void {
    this.#memo.set(key, this.#top());
  }

  #recall(key: number): void {
    if (!this.#memo.has(key)) this.#reader.fail(`malformed: nothing memoised under ${key}`);
    this.#push(this.#memo.get(key));
  }

  #global(module: unknown, attribute: unknown): void {
    const kind = Object.hasOwn(globals, `${module} ${attribute}`) ? globals[`${module} ${attribute}`] : undefined;
    if (kind === undefined) {
      this.#reader.fail(`refers to ${module}.${attribute}; only plain data, NumPy arrays and CSR matrices are read`);
    }
    this.#push(new Global(kind));
  }

  /** Calls a global's fixed meaning; classes make an {@link Instance}. */
  #reduce(callee: unknown, args: unknown): void {
    const kind =
      callee instanceof Global ? callee.kind : this.#reader.fail('malformed: calls something that is no name');
    if (!Array.isArray(args)) this.#reader.fail('malformed: arguments are no tuple');
    if (kind === 'reconstruct' || kind === 'reconstructor') {
      const type = args[0] instanceof Global ? args[0].kind : '';
      if (type !== 'ndarray' && type !== 'csr') this.#reader.fail('reconstructs something that is no array');
      this.#push(new Instance(type, args.slice(1)));
    } else if (kind === 'defaultdict' || kind === 'dict') {
      // Items come later, one by one; the only argument is a default dictionary's factory.
      if (!args.every(argument => argument instanceof Global))
        this.#reader.fail(`makes a ${kind} from items: not supported`);
      this.#push(new Map());
    } else if (kind === 'list' && args.length === 0) this.#push([]);
    // Python 3 writes byte strings in old protocols as text with an encoding.
    else if (kind === 'encode' && typeof args[0] === 'string' && args[1] === 'latin1') this.#push(args[0]);
    else if (kind === 'dtype' || kind === 'csr') this.#push(new Instance(kind, args));
    else this.#reader.fail(`calls ${kind} in a way that is not supported`);
  }

  #build(): void {
    const state = this.#pop();
    const target = this.#top();
    if (!(target instanceof Instance)) this.#reader.fail('malformed: sets the state of something that is no array');
    target.state = state;
  }

  #text(length: number): string {
    return new TextDecoder().decode(this.#reader.take(length, 'a string'));
  }

  #number(text: string): number | bigint {
    const value = Number(text);
    if (!text.trim() || Number.isNaN(value)) this.#reader.fail(`malformed number ${JSON.stringify(text)}`);
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? BigInt(text) : value;
  }

  /** A two's-complement little-endian integer. */
  #long(length: number): number | bigint {
    let value = 0n;
    this.#reader.take(length, 'an integer').forEach((byte, i) => {
      value |= BigInt(byte) << BigInt(8 * i);
    });
    value = BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  #size64(): number {
    const low = this.#reader.u32();
    return this.#reader.u32() * 2 ** 32 + low;
  }

  /** A string in Python's source notation, as protocol 0 writes it. */
  #quoted(): string {
    const line = this.#reader.line('a string').trim();
    const match = /^(['"])(.*)\1$/s.exec(line) ?? this.#reader.fail('malformed string');
    const named: Record<string, string> = { n: '\n', t: '\t', r: '\r' };
    return match[2].replace(/\\(x[0-9a-fA-F]{2}|.)/g, (_, code: string) =>
      code.length > 1 ? String.fromCharCode(Number.parseInt(code.slice(1), 16)) : (named[code] ?? code),
    );
  }

  /** A string in Python's raw-unicode-escape notation, as protocol 0 writes it. */
  #unicode(): string {
    return this.#reader.line('a string').replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (text, short, long) => {
      const code = Number.parseInt(short ?? long, 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : text;
    });
  }

  readonly #operations: Record<string, () => void> = {
    '\x80': () => {
      const version = this.#reader.u8();
      if (version > 4) this.#reader.fail(`pickle protocol ${version}, expected at most 4`);
    },
    '\x95': () => this.#reader.skip(8, 'a frame'),
    '(': () => this.#push(MARK),
    '0': () => void this.#stack.pop(),
    '1': () => void this.#popMark(),
    '2': () => this.#push(this.#top()),
    N: () => this.#push(null),
    '\x88': () => this.#push(true),
    '\x89': () => this.#push(false),
    I: () => {
      const text = this.#reader.line('an integer');
      this.#push(text === '00' ? false : text === '01' ? true : this.#number(text));
    },
    L: () => this.#push(this.#number(this.#reader.line('an integer').replace(/L$/, ''))),
    F: () => this.#push(this.#number(this.#reader.line('a number'))),
    G: () => this.#push(this.#reader.f64be('a number')),
    K: () => this.#push(this.#reader.u8()),
    M: () => this.#push(this.#reader.u16()),
    J: () => this.#push(this.#reader.i32()),
    '\x8a': () => this.#push(this.#long(this.#reader.u8())),
    S: () => this.#push(this.#quoted()),
    U: () => this.#push(this.#reader.latin1(this.#reader.u8(), 'a string')),
    T: () => this.#push(this.#reader.latin1(this.#reader.u32(), 'a string')),
    C: () => this.#push(this.#reader.latin1(this.#reader.u8(), 'a byte string')),
    B: () => this.#push(this.#reader.latin1(this.#reader.u32(), 'a byte string')),
    V: () => this.#push(this.#unicode()),
    X: () => this.#push(this.#text(this.#reader.u32())),
    '\x8c': () => this.#push(this.#text(this.#reader.u8())),
    '\x8d': () => this.#push(this.#text(this.#size64())),
    '\x8e': () => this.#push(this.#reader.latin1(this.#size64(), 'a byte string')),
    ')': () => this.#push([]),
    ']': () => this.#push([]),
    '}': () => this.#push(new Map()),
    t: () => this.#push(this.#popMark()),
    l: () => this.#push(this.#popMark()),
    d: () => {
      const items = this.#popMark();
      this.#push(new Map());
      this.#setItems(items);
    },
    '\x85': () => this.#push([this.#pop()]),
    '\x86': () => this.#push([this.#pop(), this.#pop()].reverse()),
    '\x87': () => this.#push([this.#pop(), this.#pop(), this.#pop()].reverse()),
    a: () => {
      const value = this.#pop();
      this.#list().push(value);
    },
    e: () => {
      const values = this.#popMark();
      const list = this.#list();
      for (const value of values) list.push(value);
    },
    s: () => {
      const value = this.#pop();
      this.#setItems([this.#pop(), value]);
    },
    u: () => this.#setItems(this.#popMark()),
    p: () => this.#remember(Number(this.#reader.line('a memo key'))),
    q: () => this.#remember(this.#reader.u8()),
    r: () => this.#remember(this.#reader.u32()),
    '\x94': () => this.#remember(this.#memo.size),
    g: () => this.#recall(Number(this.#reader.line('a memo key'))),
    h: () => this.#recall(this.#reader.u8()),
    j: () => this.#recall(this.#reader.u32()),
    c: () => this.#global(this.#reader.line('a module name'), this.#reader.line('a name')),
    '\x93': () => {
      const attribute = this.#pop();
      this.#global(this.#pop(), attribute);
    },
    R: () => {
      const args = this.#pop();
      this.#reduce(this.#pop(), args);
    },
    '\x81': () => {
      const args = this.#pop();
      this.#reduce(this.#pop(), args);
    },
    b: () => this.#build(),
  };
}

/** Replaces instances by arrays and matrices, once the whole file is read. */
class Finisher {
  readonly #reader: ByteReader;
  readonly #done = new Map<object, Pickled>();
  readonly #open = new Set<object>();

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  finish(value: unknown): Pickled {
    if (typeof value !== 'object' || value === null) return value as Pickled;
    const done = this.#done.get(value);
    if (done !== undefined) return done;
    if (this.#open.has(value)) this.#reader.fail('an object contains itself');
    if (this.#open.size > 100) this.#reader.fail('objects are nested more than 100 deep');
    this.#open.add(value);
    const result = this.#convert(value);
    this.#open.delete(value);
    this.#done.set(value, result);
    return result;
  }

  #convert(value: object): Pickled {
    if (Array.isArray(value)) return value.map(item => this.finish(item));
    if (value instanceof Map) {
      return new Map([...value].map(([key, item]) => [this.finish(key), this.finish(item)] as const));
    }
    if (value instanceof Instance && value.kind === 'ndarray') return this.#array(value);
    if (value instanceof Instance && value.kind === 'csr') return this.#csr(value);
    return this.#reader.fail('holds a bare class or type, expected data');
  }

  /** State of `numpy.ndarray.__setstate__`: version, shape, type, Fortran order, bytes. */
  #array({ state }: Instance): NDArray {
    if (!Array.isArray(state) || state.length !== 5) this.#reader.fail('malformed NumPy array');
    const [, shape, type, fortran, raw] = state;
    if (!(type instanceof Instance) || type.kind !== 'dtype') this.#reader.fail('malformed NumPy array type');
    const code = String(type.args[0]);
    const dtype = numpyType(code);
    if (dtype === undefined) this.#reader.fail(`NumPy type '${code}' is not supported`);
    const order = Array.isArray(type.state) && type.state[1] === '>' ? 'big' : 'little';
    const axes =
      Array.isArray(shape) && shape.every(n => Number.isSafeInteger(n) && n >= 0) ? (shape as number[]) : null;
    if (!axes || typeof raw !== 'string') this.#reader.fail('malformed NumPy array state');
    const name = `${this.#reader.name}: array [${axes}]`;
    const elements = new ByteReader(
      Uint8Array.from(raw, c => c.charCodeAt(0)),
      name,
    );
    const data = decodeElements(elements, dtype, sizeOf(axes), order);
    if (elements.remaining > 0) elements.fail(`${elements.remaining} bytes too many`);
    return fortran ? rowMajor({ dtype, shape: axes, data }) : { dtype, shape: axes, data };
  }

  #csr({ state }: Instance): Csr {
    const fields = this.finish(state);
    if (!(fields instanceof Map)) this.#reader.fail('malformed CSR matrix');
    const shape = fields.get('_shape') ?? fields.get('shape');
    const [data, indices, indptr] = ['data', 'indices', 'indptr'].map(key => fields.get(key) as NDArray | undefined);
    if (!data?.data || !indices?.data || !indptr?.data || !Array.isArray(shape)) {
      this.#reader.fail('malformed CSR matrix: it needs _shape, data, indices and indptr');
    }
    const matrix: Csr = {
      shape: [Number(shape[0]), Number(shape[1])],
      offsets: Int32Array.from(indptr.data as Int32Array, Number),
      columns: Int32Array.from(indices.data as Int32Array, Number),
      values: Float32Array.from(data.data as Float32Array, Number),
    };
    return checkCsr(matrix, this.#reader.name);
  }
}

/** Refuses a CSR matrix whose offsets fall or whose columns lie outside its shape. */
function checkCsr(matrix: Csr, name: string): Csr {
  const [rows, columns] = matrix.shape;
  const { offsets } = matrix;
  const rising = offsets.every((offset, i) => offset >= (i ? offsets[i - 1] : 0));
  const fits = matrix.columns.every(column => column >= 0 && column < columns);
  const { length } = matrix.columns;
  if (!rising || !fits || offsets.length !== rows + 1 || offsets[rows] !== length || matrix.values.length !== length) {
    throw new FormatError(`${name}: malformed CSR matrix of [${matrix.shape}] with ${length} entries`);
  }
  return matrix;
}
