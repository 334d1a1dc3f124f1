/** Fourier transforms, windows and mel filters. */
import './common.ts';
import type { Node } from '../load/graph.ts';
import { dataType } from '../load/tensor.ts';
import { type DataType, type Info, sizeOf, type Value } from '../values.ts';
import { contents } from './access.ts';
import { axisOf, floats, need, pack, scalar, split, workspace } from './numeric.ts';
import { fail, type Inputs, number, type Operator, type Operators } from './operator.ts';

/** A transform of one length: replaces (re, im) by Σ x[n] · exp(∓2πi·kn / N). */
type Transform = (re: Float64Array, im: Float64Array, inverse: boolean) => void;

/** Radix-2 for powers of two, Bluestein's convolution for every other length. */
export function fourier(length: number): Transform {
  return (length & (length - 1)) === 0 ? radix2(length) : bluestein(length);
}

function radix2(length: number): Transform {
  const cos = Float64Array.from({ length: length / 2 }, (_, k) => Math.cos((2 * Math.PI * k) / length));
  const sin = Float64Array.from({ length: length / 2 }, (_, k) => -Math.sin((2 * Math.PI * k) / length));
  return (re, im, inverse) => {
    for (let i = 1, j = 0; i < length; i++) {
      let bit = length >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [re[i], re[j]] = [re[j], re[i]];
        [im[i], im[j]] = [im[j], im[i]];
      }
    }
    const sign = inverse ? -1 : 1;
    for (let half = 1; half < length; half *= 2) {
      const step = length / (2 * half);
      for (let start = 0; start < length; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const [i, j] = [start + k, start + k + half];
          const [c, s] = [cos[k * step], sign * sin[k * step]];
          const [x, y] = [re[j] * c - im[j] * s, re[j] * s + im[j] * c];
          re[j] = re[i] - x;
          im[j] = im[i] - y;
          re[i] += x;
          im[i] += y;
        }
      }
    }
  };
}

function bluestein(length: number): Transform {
  const size = 2 ** Math.ceil(Math.log2(2 * length - 1));
  const inner = radix2(size);
  // exp(−πi·k² / N); k² is taken modulo 2N, where it stays exact.
  const angle = (k: number) => (Math.PI * ((k * k) % (2 * length))) / length;
  const cos = Float64Array.from({ length }, (_, k) => Math.cos(angle(k)));
  const sin = Float64Array.from({ length }, (_, k) => -Math.sin(angle(k)));
  const chirpRe = new Float64Array(size);
  const chirpIm = new Float64Array(size);
  for (let k = 0; k < length; k++) {
    chirpRe[k] = chirpRe[(size - k) % size] = cos[k];
    chirpIm[k] = chirpIm[(size - k) % size] = -sin[k];
  }
  inner(chirpRe, chirpIm, false);
  const re = new Float64Array(size);
  const im = new Float64Array(size);
  return (x, y, inverse) => {
    re.fill(0);
    im.fill(0);
    // The inverse transform is the forward one of the conjugate, conjugated.
    const sign = inverse ? -1 : 1;
    for (let k = 0; k < length; k++) {
      re[k] = x[k] * cos[k] - sign * y[k] * sin[k];
      im[k] = x[k] * sin[k] + sign * y[k] * cos[k];
    }
    inner(re, im, false);
    for (let k = 0; k < size; k++)
      [re[k], im[k]] = [re[k] * chirpRe[k] - im[k] * chirpIm[k], re[k] * chirpIm[k] + im[k] * chirpRe[k]];
    inner(re, im, true);
    for (let k = 0; k < length; k++) {
      x[k] = (re[k] * cos[k] - im[k] * sin[k]) / size;
      y[k] = (sign * (re[k] * sin[k] + im[k] * cos[k])) / size;
    }
  };
}

/** Axis, transform length and output shape of a DFT. */
function dftShape(node: Node, inputs: Inputs<Info>) {
  const { dims } = need(node, inputs, 0);
  const rank = dims.length;
  const given = node.version < 20 ? number(node, 'axis', 1) : (contents(node, inputs, 2)?.[0] ?? -2);
  const axis = axisOf(node, given, rank);
  const [inverse, onesided] = [number(node, 'inverse', 0) !== 0, number(node, 'onesided', 0) !== 0];
  const real = inverse && onesided;
  if (axis === rank - 1 || dims[rank - 1] > 2)
    fail(node, `input [${dims}] with axis ${axis}: the last axis holds real and imaginary parts`);
  const length = contents(node, inputs, 1)?.[0] ?? (real ? 2 * (dims[axis] - 1) : dims[axis]);
  const bins = onesided && !inverse ? Math.floor(length / 2) + 1 : length;
  const out = dims.map((size, d) => (d === axis ? bins : d === rank - 1 ? (real ? 1 : 2) : size));
  return { axis, length, inverse, real, dims: out };
}

function dft(node: Node, inputs: Inputs): Value[] {
  const x = need(node, inputs, 0);
  const { axis, length, inverse, real, dims } = dftShape(node, inputs);
  const parts = x.dims[x.dims.length - 1];
  const made = real ? 1 : 2;
  const [outer, size, rest] = split(x.dims, axis);
  const inner = rest / parts;
  const bins = dims[axis];
  const xs = floats(x);
  const y = workspace(x.type, sizeOf(dims));
  const transform = fourier(length);
  const [re, im] = [new Float64Array(length), new Float64Array(length)];
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      re.fill(0);
      im.fill(0);
      for (let k = 0; k < Math.min(size, length); k++) {
        const at = ((o * size + k) * inner + i) * parts;
        re[k] = xs[at];
        if (parts === 2) im[k] = xs[at + 1];
      }
      // A one-sided spectrum is completed by symmetry; the parts that a real signal cannot have are left out.
      if (real) {
        im[0] = 0;
        if (length % 2 === 0) im[length / 2] = 0;
        for (let k = Math.floor(length / 2) + 1; k < length; k++) {
          re[k] = re[length - k];
          im[k] = -im[length - k];
        }
      }
      transform(re, im, inverse);
      const scale = inverse ? 1 / length : 1;
      for (let k = 0; k < bins; k++) {
        const at = ((o * bins + k) * inner + i) * made;
        y[at] = re[k] * scale;
        if (!real) y[at + 1] = im[k] * scale;
      }
    }
  }
  return [pack(x.type, dims, y)];
}

/** Frame length and output shape of an STFT. */
function stftShape(node: Node, inputs: Inputs<Info>) {
  const { dims } = need(node, inputs, 0);
  const step = contents(node, inputs, 1)?.[0] ?? 1;
  const length = contents(node, inputs, 3)?.[0] ?? inputs[2]?.dims[0] ?? dims[1];
  const frames = Math.floor((dims[1] - length) / step) + 1;
  const bins = number(node, 'onesided', 1) ? Math.floor(length / 2) + 1 : length;
  return { step, length, frames, bins, dims: [dims[0], frames, bins, 2] };
}

function stft(node: Node, inputs: Inputs): Value[] {
  const x = need(node, inputs, 0);
  const { step, length, frames, bins, dims } = stftShape(node, inputs);
  const parts = x.dims[2] ?? 1;
  const window = inputs[2] && floats(inputs[2]);
  const xs = floats(x);
  const y = workspace(x.type, sizeOf(dims));
  const transform = fourier(length);
  const [re, im] = [new Float64Array(length), new Float64Array(length)];
  for (let n = 0, to = 0; n < dims[0]; n++) {
    for (let f = 0; f < frames; f++) {
      for (let k = 0; k < length; k++) {
        const at = (n * x.dims[1] + f * step + k) * parts;
        const weight = window ? window[k] : 1;
        re[k] = xs[at] * weight;
        im[k] = parts === 2 ? xs[at + 1] * weight : 0;
      }
      transform(re, im, false);
      for (let k = 0; k < bins; k++) {
        y[to++] = re[k];
        y[to++] = im[k];
      }
    }
  }
  return [pack(x.type, dims, y)];
}

const outputType = (node: Node): DataType =>
  dataType(number(node, 'output_datatype', 1), `${node.name}: output_datatype`);

/** A cosine window Σ a[i] · (−1)ⁱ · cos(2πi·n / N), with N one less when it is symmetric. */
const cosineWindow = (a: readonly number[]): Operator => ({
  attributes: ['periodic', 'output_datatype'],
  shapeInputs: [0],
  infer: (node, inputs) => [{ type: outputType(node), dims: [contents(node, inputs, 0)![0]] }],
  run(node, inputs) {
    const size = scalar(need(node, inputs, 0));
    const period = number(node, 'periodic', 1) ? size : size - 1;
    const term = (n: number) =>
      a.reduce((sum, weight, i) => sum + weight * (-1) ** i * Math.cos((2 * Math.PI * i * n) / period), 0);
    return [
      pack(
        outputType(node),
        [size],
        Float64Array.from({ length: size }, (_, n) => (period === 0 ? 1 : term(n))),
      ),
    ];
  },
});

function melWeights(node: Node, inputs: Inputs): Value[] {
  const [bins, length, rate, low, high] = [0, 1, 2, 3, 4].map(i => scalar(need(node, inputs, i)));
  const rows = Math.floor(length / 2) + 1;
  const y = new Float64Array(rows * bins);
  const mel = (hertz: number) => (2595 * Math.log1p(hertz / 700)) / Math.LN10;
  const [from, to] = [mel(low), mel(high)];
  const edges = Array.from({ length: bins + 2 }, (_, i) => {
    const hertz = 700 * Math.expm1(((from + (i * (to - from)) / (bins + 2)) / 2595) * Math.LN10);
    return Math.floor(((length + 1) * hertz) / rate);
  });
  const set = (row: number, column: number, value: number) => {
    if (row < rows) y[row * bins + column] = value;
  };
  for (let i = 0; i < bins; i++) {
    const [left, centre, right] = edges.slice(i, i + 3);
    if (left === centre) set(centre, i, 1);
    else for (let j = left; j <= centre; j++) set(j, i, (j - left) / (centre - left));
    for (let j = centre; j < right; j++) set(j, i, (right - j) / (right - centre));
  }
  return [pack(outputType(node), [rows, bins], y)];
}

const sameType = (node: Node, inputs: Inputs<Info>, dims: readonly number[]): Info[] => [
  { type: need(node, inputs, 0).type, dims },
];

export const operators: Operators = {
  DFT: {
    attributes: ['axis', 'inverse', 'onesided'],
    shapeInputs: [1, 2],
    infer: (node, inputs) => sameType(node, inputs, dftShape(node, inputs).dims),
    run: dft,
  },
  STFT: {
    attributes: ['onesided'],
    shapeInputs: [1, 3],
    infer: (node, inputs) => sameType(node, inputs, stftShape(node, inputs).dims),
    run: stft,
  },
  HannWindow: cosineWindow([0.5, 0.5]),
  HammingWindow: cosineWindow([25 / 46, 21 / 46]),
  BlackmanWindow: cosineWindow([0.42, 0.5, 0.08]),
  MelWeightMatrix: {
    attributes: ['output_datatype'],
    shapeInputs: [0, 1],
    infer: (node, inputs) => [
      {
        type: outputType(node),
        dims: [Math.floor(contents(node, inputs, 1)![0] / 2) + 1, contents(node, inputs, 0)![0]],
      },
    ],
    run: melWeights,
  },
};
