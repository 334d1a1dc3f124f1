/** Small models, made by hand or at random, for tests of whole sessions. */
import {
  encodeOnnx,
  float,
  int,
  ints,
  type OnnxAttribute,
  type OnnxDimension,
  type OnnxModel,
  type OnnxTensor,
  onnxModel,
  onnxNode,
  onnxValue,
} from '@gossamer/tensor/onnx';

export { float, int, ints };

/** Mulberry32: numbers in [0, 1). */
export function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const tensorOf = (shape: number[], data: ArrayLike<number>): OnnxTensor => ({
  dtype: 'float32',
  shape,
  data: Float32Array.from(data),
});
export const integers = (...values: number[]): OnnxTensor => ({
  dtype: 'int64',
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});

type Attributes = Record<string, OnnxAttribute>;

/** A graph under construction. */
export class Model {
  readonly nodes: OnnxModel['graph']['nodes'] = [];
  readonly initializers = new Map<string, OnnxTensor>();
  readonly inputs: OnnxModel['graph']['inputs'] = [];
  readonly outputs: OnnxModel['graph']['outputs'] = [];
  #names = 0;

  name(hint: string): string {
    return `${hint}${this.#names++}`;
  }

  input(name: string, shape: OnnxDimension[], dtype: OnnxTensor['dtype'] = 'float32'): string {
    this.inputs.push(onnxValue(name, dtype, shape));
    return name;
  }

  constant(value: OnnxTensor): string {
    const name = this.name('c');
    this.initializers.set(name, value);
    return name;
  }

  /** A node with one output; returns its name. */
  add(op: string, inputs: string[], attributes: Attributes = {}, domain = ''): string {
    return this.several(op, inputs, 1, attributes, domain)[0];
  }

  several(op: string, inputs: string[], count: number, attributes: Attributes = {}, domain = ''): string[] {
    const outputs = Array.from({ length: count }, () => this.name('v'));
    this.nodes.push(onnxNode(op, inputs, outputs, attributes, { domain }));
    return outputs;
  }

  output(name: string, shape: OnnxDimension[] | null = null, dtype: OnnxTensor['dtype'] = 'float32'): void {
    this.outputs.push({ name, dtype, shape });
  }

  bytes(opset = 17): Uint8Array<ArrayBuffer> {
    const { nodes, initializers, inputs, outputs } = this;
    const opsets = { '': opset };
    return encodeOnnx(onnxModel({ name: 'test', nodes, inputs, outputs, initializers }, { opsets }));
  }
}

/** A value whose dimensions after the batch are known. */
interface Known {
  readonly name: string;
  readonly dims: readonly number[];
}

const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** A random network for images or sequences: what exporters write, and combinations that they do not. */
export class RandomModel extends Model {
  readonly #next: () => number;
  readonly values: Known[] = [];
  /** Without the batch. */
  readonly inputDims: number[];
  /** undefined: any. */
  readonly batch: number | undefined;

  constructor(seed: number) {
    super();
    this.#next = random(seed);
    this.batch = this.#below(5) < 2 ? 1 + this.#below(2) : undefined;
    this.inputDims = this.#below(3)
      ? [1 + this.#below(9), 3 + this.#below(6), 3 + this.#below(6)]
      : [2 + this.#below(5), 4 * (1 + this.#below(4))];
    const symbolic = this.batch ?? 'n';
    this.values.push({ name: this.input('x', [symbolic, ...this.inputDims]), dims: this.inputDims });
    const steps = 3 + this.#below(this.#below(3) ? 10 : 30);
    while (this.nodes.length < steps) this.#step();
    const outputs = new Set([this.values.at(-1)!]);
    for (let i = this.#below(3); i > 0; i--) outputs.add(this.#pick(this.values));
    for (const { name, dims } of outputs) this.output(name, [symbolic, ...dims]);
  }

  #below(n: number): number {
    return Math.floor(this.#next() * n);
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)];
  }

  /** A weight matrix with some pattern of zeros, scaled to keep the size of activations. */
  weight(shape: number[], fanIn: number): string {
    const size = product(shape);
    const cols = size / shape[0];
    const density = 0.1 + 0.4 * this.#next();
    const kind = this.#below(6);
    const seed = this.#below(1e9);
    const live = (r: number, c: number): boolean => {
      if (kind < 2) return true;
      if (kind === 5) return (c + (seed >> (r % 8))) % 4 < 2;
      const block = kind - 2;
      return random(seed + Math.floor(r / (1 << block)) * 7919 + c)() < density;
    };
    const data = Float32Array.from({ length: size }, (_, i) => {
      const value = (this.#next() * 2 - 1) * Math.sqrt(3 / fanIn);
      return live(Math.floor(i / cols), i % cols) ? value : 0;
    });
    return this.constant({ dtype: 'float32', shape, data, sparse: kind > 1 && this.#below(2) === 0 });
  }

  #vector(shape: number[], low = -0.5, high = 0.5): string {
    const data = Array.from({ length: product(shape) }, () => low + (high - low) * this.#next());
    return this.constant(tensorOf(shape, data));
  }

  #scalar(value: number): string {
    return this.constant({ dtype: 'float32', shape: [], data: Float32Array.of(value) });
  }

  #push(name: string, dims: readonly number[]): Known {
    const value = { name, dims };
    this.values.push(value);
    return value;
  }

  #like({ dims }: Known, op: string, inputs: string[], attributes: Attributes = {}): Known {
    return this.#push(this.add(op, inputs, attributes), dims);
  }

  #step(): void {
    // Recent values more often, so that graphs are deep.
    const recent = this.values.slice(-4);
    const x = this.#pick(this.#below(4) ? recent : this.values);
    const same = this.values.filter(v => String(v.dims) === String(x.dims));
    const shared = this.#below(5);
    if (shared === 0) this.#like(x, this.#pick(['Add', 'Mul', 'Sub']), [x.name, this.#pick(same).name]);
    else if (shared === 1) this.#activation(x);
    else if (x.dims.length === 3) this.#image(x);
    else if (x.dims.length === 2) this.#sequence(x);
    else this.#vectors(x);
  }

  #activation(x: Known): Known {
    const { name } = x;
    const zero = this.#scalar(0);
    switch (this.#below(9)) {
      case 0:
      case 1:
        return this.#like(x, 'Relu', [name]);
      case 2:
        return this.#like(x, 'Clip', [name, zero, this.#scalar(0.75)]);
      case 3:
        return this.#like(x, 'Clip', this.#below(2) ? [name, '', this.#scalar(0.5)] : [name, this.#scalar(-0.5)]);
      case 4:
        return this.#like(x, 'Mul', [name, this.add('Sigmoid', [name])]);
      case 5:
        return this.#like(x, 'LeakyRelu', [name], { alpha: float(0.1) });
      case 6:
        return this.#gelu(x);
      case 7:
        return this.#like(x, 'Mul', [name, this.add('HardSigmoid', [name], { alpha: float(1 / 6), beta: float(0.5) })]);
      default:
        return this.#like(x, 'Tanh', [name]);
    }
  }

  #gelu(x: Known): Known {
    const inner = this.#below(2)
      ? this.add('Div', [x.name, this.#scalar(Math.SQRT2)])
      : this.add('Mul', [this.#scalar(Math.SQRT1_2), x.name]);
    const sum = this.add('Add', [this.add('Erf', [inner]), this.#scalar(1)]);
    // Sometimes an intermediate has another use, so that nothing may be fused.
    if (this.#below(4) === 0) this.#push(sum, x.dims);
    const half = this.#scalar(0.5);
    const order = this.#below(3);
    if (order === 0) return this.#like(x, 'Mul', [this.add('Mul', [x.name, sum]), half]);
    if (order === 1) return this.#like(x, 'Mul', [x.name, this.add('Mul', [sum, half])]);
    return this.#like(x, 'Mul', [this.add('Mul', [half, x.name]), sum]);
  }

  #conv(x: Known, group: number, out: number, kernel: number, stride: number): Known {
    const [c, h, w] = x.dims;
    const weight = this.weight([out, c / group, kernel, kernel], (c / group) * kernel * kernel);
    const inputs = [x.name, weight];
    if (this.#below(2)) inputs.push(this.#vector([out]));
    else if (this.#below(4) === 0) inputs.push('');
    const pad = kernel >> 1;
    const attributes: Attributes = {
      kernel_shape: ints([kernel, kernel]),
      strides: ints([stride, stride]),
      group: int(group),
    };
    if (this.#below(3)) attributes.pads = ints([pad, pad, pad, pad]);
    else attributes.auto_pad = { type: 'string', value: 'SAME_UPPER' };
    const size = (n: number) => Math.ceil(n / stride);
    const y = this.#push(this.add('Conv', inputs, attributes), [out, size(h), size(w)]);
    return this.#epilogue(y);
  }

  /** What often follows a convolution. */
  #epilogue(y: Known): Known {
    const [c] = y.dims;
    if (this.#below(2)) {
      const parameters = [
        this.#vector([c], 0.5, 1.5),
        this.#vector([c]),
        this.#vector([c]),
        this.#vector([c], 0.5, 1.5),
      ];
      y = this.#like(y, 'BatchNormalization', [y.name, ...parameters]);
    } else if (this.#below(4) === 0) {
      y = this.#like(y, 'Add', [this.#vector([c, 1, 1]), y.name]);
    }
    if (this.#below(3) === 0) {
      const others = this.values.filter(v => String(v.dims) === String(y.dims));
      y = this.#like(y, 'Add', [y.name, this.#pick(others).name]);
    }
    return this.#below(2) ? this.#activation(y) : y;
  }

  #image(x: Known): void {
    const [c, h, w] = x.dims;
    const out = 1 + this.#below(12);
    switch (this.#below(14)) {
      case 0:
      case 1:
      case 2:
        this.#conv(x, 1, out, 1, 1 + this.#below(8 / 7));
        break;
      case 3:
        this.#conv(x, 1, out, 3, 1 + this.#below(2));
        break;
      case 4:
        this.#conv(x, c, c * (1 + this.#below(8 / 7)), 3, 1 + this.#below(2));
        break;
      case 5:
        if (c % 2 === 0) this.#conv(x, 2, 2 * out, this.#pick([1, 3]), 1);
        break;
      case 6: {
        const fit = this.values.filter(
          v => v.dims.length === 3 && v.dims[1] === h && v.dims[2] === w && v.dims[0] < 40,
        );
        if (c > 40) break;
        const parts = [x, ...Array.from({ length: 1 + this.#below(2) }, () => this.#pick(fit.length ? fit : [x]))];
        const channels = parts.reduce((sum, part) => sum + part.dims[0], 0);
        this.#push(
          this.add(
            'Concat',
            parts.map(part => part.name),
            { axis: int(this.#below(2) ? 1 : -3) },
          ),
          [channels, h, w],
        );
        break;
      }
      case 7: {
        if (c < 2) break;
        const first = 1 + this.#below(c - 1);
        const parts = this.several('Split', [x.name, this.constant(integers(first, c - first))], 2, { axis: int(1) });
        this.#push(parts[0], [first, h, w]);
        this.#push(parts[1], [c - first, h, w]);
        break;
      }
      case 8: {
        const from = this.#below(c);
        const ends = integers(this.#below(2) ? c : 2 ** 31);
        const inputs = [x.name, this.constant(integers(from)), this.constant(ends), this.constant(integers(1))];
        this.#push(this.add('Slice', inputs), [c - from, h, w]);
        break;
      }
      case 9: {
        const op = this.#pick(['MaxPool', 'AveragePool']);
        if (h < 2 || w < 2) break;
        const attributes = { kernel_shape: ints([2, 2]), strides: ints([2, 2]) };
        this.#push(this.add(op, [x.name], attributes), [c, h >> 1, w >> 1]);
        break;
      }
      case 10: {
        // Squeeze and excitation, multiplied or added.
        const pooled = this.#push(this.add('GlobalAveragePool', [x.name]), [c, 1, 1]);
        const gate = this.#conv(pooled, 1, c, 1, 1);
        this.#like(x, this.#pick(['Mul', 'Add']), this.#below(2) ? [x.name, gate.name] : [gate.name, x.name]);
        break;
      }
      case 11:
        this.#push(this.add('Flatten', [x.name]), [c * h * w]);
        break;
      case 12: {
        const target = this.constant(integers(0, c, -1));
        this.#push(this.add('Reshape', [x.name, target]), [c, h * w]);
        break;
      }
      default:
        this.#push(this.add('Transpose', [x.name], { perm: ints([0, 2, 3, 1]) }), [h, w, c]);
    }
  }

  #norm(x: Known): Known {
    const d = x.dims.at(-1)!;
    const [scale, bias] = [this.#vector([d], 0.5, 1.5), this.#vector([d])];
    const mean = (name: string) => this.add('ReduceMean', [name], { axes: ints([-1]) });
    const square = (name: string) =>
      this.#below(2) ? this.add('Pow', [name, this.#scalar(2)]) : this.add('Mul', [name, name]);
    const root = (name: string) => this.add('Sqrt', [this.add('Add', [name, this.#scalar(0.01)])]);
    switch (this.#below(3)) {
      case 0:
        return this.#like(x, 'LayerNormalization', [x.name, scale, bias], { axis: int(-1), epsilon: float(0.01) });
      case 1: {
        const centred = this.add('Sub', [x.name, mean(x.name)]);
        const normal = this.add('Div', [centred, root(mean(square(centred)))]);
        if (this.#below(4) === 0) this.#push(centred, x.dims);
        return this.#like(x, 'Add', [this.add('Mul', [normal, scale]), bias]);
      }
      default: {
        const below = root(mean(square(x.name)));
        const normal = this.#below(2)
          ? this.add('Div', [x.name, below])
          : this.add('Mul', [this.add('Reciprocal', [below]), x.name]);
        return this.#like(x, 'Mul', this.#below(2) ? [scale, normal] : [normal, scale]);
      }
    }
  }

  #sequence(x: Known): void {
    const [t, d] = x.dims;
    switch (this.#below(8)) {
      case 7:
        this.#attention(x);
        break;
      case 0:
      case 1: {
        const out = this.#below(2) ? d : 4 * (1 + this.#below(4));
        const weight = this.weight([d, out], d);
        let y = this.#push(this.add('MatMul', [x.name, weight]), [t, out]);
        if (this.#below(3))
          y = this.#like(
            y,
            'Add',
            this.#below(2) ? [y.name, this.#vector([out])] : [this.#vector([1, 1, out]), y.name],
          );
        if (this.#below(3) === 0) {
          const others = this.values.filter(v => String(v.dims) === String(y.dims));
          y = this.#like(y, 'Add', [this.#pick(others).name, y.name]);
        }
        if (this.#below(2)) this.#activation(y);
        break;
      }
      case 2:
        this.#norm(x);
        break;
      case 3:
        this.#like(x, 'Softmax', [x.name], { axis: int(-1) });
        break;
      case 4: {
        const flipped = this.add('Transpose', [x.name], { perm: ints([0, 2, 1]) });
        const scores = this.add('Softmax', [this.add('MatMul', [x.name, flipped])], { axis: int(-1) });
        this.#push(this.add('MatMul', [scores, x.name]), [t, d]);
        break;
      }
      case 5:
        this.#push(this.add('Reshape', [x.name, this.constant(integers(0, t * d))]), [t * d]);
        break;
      default:
        this.#push(this.add('Transpose', [x.name], { perm: ints([0, 2, 1]) }), [d, t]);
    }
  }

  /** x [t, heads · depth] as heads [heads, t, depth] after a product. */
  #heads(x: Known, heads: number): string {
    const [t, d] = x.dims;
    let name = this.add('MatMul', [x.name, this.weight([d, d], d)]);
    if (this.#below(2)) name = this.add('Add', [name, this.#vector([d])]);
    const split = this.add('Reshape', [name, this.constant(integers(0, t, heads, -1))]);
    return this.add('Transpose', [split], { perm: ints([0, 2, 1, 3]) });
  }

  /** Rotary position embedding of heads [.., t, depth]: the halves of every row are a complex number each. */
  #rotary(x: string, t: number, depth: number): string {
    const [cosines, sines] = [this.#vector([t, depth / 2], -1, 1), this.#vector([t, depth / 2], -1, 1)];
    const [a, b] = this.several('Split', [x, this.constant(integers(depth / 2, depth / 2))], 2, { axis: int(-1) });
    const times = (half: string, table: string) => this.add('Mul', this.#below(2) ? [half, table] : [table, half]);
    const real = this.add('Sub', [times(a, cosines), times(b, sines)]);
    const imaginary = this.add('Add', [times(b, cosines), times(a, sines)]);
    return this.add('Concat', [real, imaginary], { axis: int(-1) });
  }

  #attention(x: Known): void {
    const [t, d] = x.dims;
    const heads = this.#pick([1, 2, 4].filter(n => d % (2 * n) === 0));
    if (!heads) return;
    const depth = d / heads;
    const [q, k] = [0, 1].map(() => this.#heads(x, heads));
    const rotate = this.#below(2) === 0;
    const [left, right] = [q, k].map(name => (rotate ? this.#rotary(name, t, depth) : name));
    let scores = this.add('MatMul', [left, this.add('Transpose', [right], { perm: ints([0, 1, 3, 2]) })]);
    if (this.#below(3)) {
      const scale = Math.sqrt(depth);
      scores = this.#below(2)
        ? this.add('Div', [scores, this.#scalar(scale)])
        : this.add('Mul', [scores, this.#scalar(1 / scale)]);
    }
    const causal = Array.from({ length: t * t }, (_, i) => (i % t > Math.floor(i / t) ? -1e10 : 0));
    if (this.#below(2)) scores = this.add('Add', [scores, this.constant(tensorOf([1, 1, t, t], causal))]);
    const weights = this.add('Softmax', [scores], { axis: int(-1) });
    // Sometimes the weights are an output of their own.
    if (this.#below(6) === 0) this.output(weights, [this.batch ?? 'n', heads, t, t]);
    const mixed = this.add('MatMul', [weights, this.#heads(x, heads)]);
    const joined = this.add('Transpose', [mixed], { perm: ints([0, 2, 1, 3]) });
    const y = this.#push(this.add('Reshape', [joined, this.constant(integers(0, t, d))]), [t, d]);
    if (this.#below(2)) this.#like(y, 'Add', [x.name, this.add('MatMul', [y.name, this.weight([d, d], d)])]);
  }

  #vectors(x: Known): void {
    const [d] = x.dims;
    if (this.#below(4) === 0) {
      this.#push(this.add('Unsqueeze', [x.name, this.constant(integers(1))]), [1, d]);
      return;
    }
    const out = 1 + this.#below(12);
    const transposed = this.#below(2);
    const inputs = [x.name, this.weight(transposed ? [out, d] : [d, out], d)];
    if (this.#below(2)) inputs.push(this.#vector(this.#below(3) ? [out] : [1]));
    const y = this.#push(this.add('Gemm', inputs, { transB: int(transposed) }), [out]);
    if (this.#below(2)) this.#activation(y);
  }

  /** A feed for some batch. */
  feed(batch: number): { dims: number[]; data: Float32Array } {
    const dims = [batch, ...this.inputDims];
    return { dims, data: Float32Array.from({ length: product(dims) }, () => this.#next() * 2 - 1) };
  }
}
