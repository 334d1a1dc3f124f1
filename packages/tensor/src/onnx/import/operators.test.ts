import { describe, expect, it } from 'vitest';
import { float, floats as floatList, int, ints, string, strings, tensor } from '../proto.ts';
import { array, type Case, difference, floats, randn, runDirectly, runImported, singleNode } from './testing.ts';

const x4 = randn([2, 3, 5, 6], 1);
const x3 = randn([2, 3, 8], 2);
const m = randn([3, 4], 3);
const scalar = (v: number) => floats([v], []);
const bools = (values: number[], shape = [values.length]) => array(values, shape, 'bool');
const i32 = (values: number[], shape = [values.length]) => array(values, shape, 'int32');

/** Operators with cases: each runs in ONNX Runtime directly and by way of import. */
const table: Record<string, Case[]> = {
  // Arithmetic
  Add: [
    { feeds: [randn([2, 1, 4]), randn([3, 1], 1)], opset: 7 },
    { feeds: [i32([1, 2]), i32([3, 4])], outputs: ['int32'] },
    { feeds: [array([1, 2 ** 30])], constants: [array([3])], outputs: ['int64'] },
  ],
  Sub: [{ feeds: [randn([0, 3]), randn([1, 3])] }],
  Mul: [{ feeds: [m], constants: [scalar(0.5)] }],
  Div: [{ feeds: [i32([7, -7, 8])], constants: [i32([2])], outputs: ['int32'] }, { feeds: [m, randn([4], 7)] }],
  Mod: [
    { feeds: [i32([7, -7, 8, -8])], constants: [i32([3, 3, -3, -3])], outputs: ['int32'] },
    {
      feeds: [i32([7, -7, 8, -8])],
      constants: [i32([3, 3, -3, -3])],
      attributes: { fmod: int(1) },
      outputs: ['int32'],
    },
    { feeds: [floats([5.5, -5.5, 5.5, -5.5])], constants: [floats([2, 2, -2, -2])], attributes: { fmod: int(1) } },
  ],
  Pow: [
    ...[2, 3, 1, 0.5, -1, 1.7].map(e => ({ feeds: [floats([0.5, 1, 2, 3])], constants: [scalar(e)] })),
    { feeds: [floats([1, 2, 3]), i32([2, 3, 1])] },
    { feeds: [i32([2, -3])], constants: [floats([3])], outputs: ['int32'] },
  ],
  Min: [{ feeds: [randn([3]), randn([3], 1), randn([2, 1], 2)], opset: 8 }],
  Max: [
    { feeds: [randn([3])], opset: 8 },
    { feeds: [i32([1, 5]), i32([3, 2])], outputs: ['int32'] },
  ],
  Sum: [{ feeds: [randn([3]), randn([2, 1], 1), randn([1, 3], 2)], opset: 8 }],
  Mean: [{ feeds: [randn([3]), randn([2, 3], 1)] }],
  Equal: [
    { feeds: [i32([1, 2]), i32([1, 3])], outputs: ['bool'] },
    { feeds: [bools([0, 1]), bools([0, 0])], outputs: ['bool'] },
  ],
  Less: [{ feeds: [randn([4]), randn([4], 1)], outputs: ['bool'], opset: 9 }],
  LessOrEqual: [{ feeds: [i32([1, 2, 3]), i32([2])], outputs: ['bool'] }],
  Greater: [{ feeds: [randn([4]), randn([4], 1)], outputs: ['bool'] }],
  GreaterOrEqual: [{ feeds: [randn([4]), randn([1], 1)], outputs: ['bool'] }],
  And: [{ feeds: [bools([0, 1, 1]), bools([1])], outputs: ['bool'] }],
  Or: [{ feeds: [bools([0, 1, 0]), bools([0, 0, 1])], outputs: ['bool'] }],
  Xor: [{ feeds: [bools([0, 1, 1]), bools([0, 0, 1])], outputs: ['bool'] }],
  Not: [{ feeds: [bools([0, 1])], outputs: ['bool'] }],
  Where: [
    { feeds: [bools([0, 1, 0], [3, 1]), randn([3, 2])], constants: [scalar(-1)] },
    { feeds: [bools([0, 1]), array([1, 2]), array([3, 4])], outputs: ['int64'] },
  ],
  IsNaN: [{ feeds: [floats([1, Number.NaN, Infinity])], outputs: ['bool'] }],
  IsInf: [
    { feeds: [floats([1, -Infinity, Infinity])], outputs: ['bool'] },
    { feeds: [floats([1, -Infinity, Infinity])], attributes: { detect_negative: int(0) }, outputs: ['bool'] },
  ],
  Cast: [
    { feeds: [floats([1.7, -1.7, 0])], attributes: { to: int(6) }, outputs: ['int32'] },
    { feeds: [floats([1.7, 0])], attributes: { to: int(9) }, outputs: ['bool'] },
    { feeds: [array([3, -4])], attributes: { to: int(1) }, opset: 9 },
    { feeds: [i32([3, -4])], attributes: { to: int(7) }, outputs: ['int64'] },
    { feeds: [floats([1.5, 3])], attributes: { to: int(11) }, outputs: ['float64'] },
  ],
  CastLike: [{ feeds: [i32([1, 2]), scalar(1)] }],
  // One operand
  ...Object.fromEntries(
    'Neg Abs Sign Floor Ceil Round Exp Sin Cos Tan Atan Erf Sinh Cosh Asinh Relu Sigmoid Tanh Softplus Softsign HardSwish Mish'
      .split(' ')
      .map(op => [
        op,
        [
          { feeds: [randn([2, 7], 5, 2)], opset: 18 },
          { feeds: [randn([0], 5)], opset: 18 },
        ],
      ]),
  ),
  ...Object.fromEntries('Sqrt Log Reciprocal'.split(' ').map(op => [op, [{ feeds: [floats([0.1, 1, 7])] }]])),
  ...Object.fromEntries('Asin Acos Atanh'.split(' ').map(op => [op, [{ feeds: [floats([-0.9, 0, 0.5])] }]])),
  Acosh: [{ feeds: [floats([1, 2, 7])] }],
  // Activations
  LeakyRelu: [{ feeds: [m] }, { feeds: [m], attributes: { alpha: float(0.3) } }],
  Elu: [{ feeds: [m] }, { feeds: [m], attributes: { alpha: float(0.5) } }],
  Swish: [{ feeds: [m], attributes: { alpha: float(1.5) }, opset: 24 }],
  Celu: [{ feeds: [m], attributes: { alpha: float(2) } }],
  Selu: [{ feeds: [m] }, { feeds: [m], attributes: { alpha: float(2), gamma: float(1.5) } }],
  HardSigmoid: [{ feeds: [m] }, { feeds: [m], attributes: { alpha: float(0.5), beta: float(0.6) } }],
  ThresholdedRelu: [{ feeds: [m] }, { feeds: [m], attributes: { alpha: float(0.2) } }],
  PRelu: [
    { feeds: [x4], constants: [randn([3, 1, 1], 4)] },
    { feeds: [m], constants: [floats([0.2])], opset: 9 },
  ],
  Shrink: [{ feeds: [m], attributes: { bias: float(0.1), lambd: float(0.3) } }],
  Gelu: [
    { feeds: [m], opset: 20 },
    { feeds: [m], opset: 20, attributes: { approximate: string('tanh') } },
    { feeds: [m], domain: 'com.microsoft' },
  ],
  Clip: [
    { feeds: [m], attributes: { min: float(-0.5), max: float(0.5) }, opset: 7 },
    { feeds: [m], attributes: { max: float(0.5) }, opset: 10 },
    { feeds: [m], constants: [scalar(-0.5), scalar(0.25)], opset: 11 },
    { feeds: [m], constants: [null, scalar(0.25)] },
    { feeds: [m, scalar(0), scalar(0.5)] },
    { feeds: [i32([1, 5, 9])], constants: [array([2], [], 'int32'), array([6], [], 'int32')], outputs: ['int32'] },
  ],
  Dropout: [
    { feeds: [m], attributes: { ratio: float(0.4) }, opset: 7 },
    { feeds: [m], constants: [scalar(0.4)], outputs: ['float32', 'bool'] },
  ],
  Softmax: [
    { feeds: [x3], opset: 7 },
    { feeds: [x3], attributes: { axis: int(2) }, opset: 11 },
    { feeds: [x3], attributes: { axis: int(-2) }, opset: 12 },
    { feeds: [x3], attributes: { axis: int(0) }, opset: 12 },
    { feeds: [x3] },
    { feeds: [x3], attributes: { axis: int(1) } },
  ],
  LogSoftmax: [
    { feeds: [x3], opset: 12 },
    { feeds: [x3], attributes: { axis: int(-2) } },
  ],
  Hardmax: [{ feeds: [x3], opset: 11 }, { feeds: [floats([1, 3, 3, 2], [2, 2])] }],
  Identity: [{ feeds: [m] }, { feeds: [array([1, 2])], outputs: ['int64'] }],
  // Movement
  Reshape: [
    { feeds: [x3], constants: [array([0, -1, 2])] },
    { feeds: [randn([0, 3])], constants: [array([3, 0])], attributes: { allowzero: int(1) }, opset: 14 },
    { feeds: [x3], constants: [array([-1])], opset: 7 },
  ],
  Flatten: [
    { feeds: [x4] },
    { feeds: [x4], attributes: { axis: int(0) } },
    { feeds: [x4], attributes: { axis: int(-1) } },
  ],
  Transpose: [{ feeds: [x3] }, { feeds: [x3], attributes: { perm: ints([1, 2, 0]) } }],
  Squeeze: [
    { feeds: [randn([1, 3, 1])], opset: 11 },
    { feeds: [randn([1, 3, 1])], attributes: { axes: ints([-1]) }, opset: 11 },
    { feeds: [randn([1, 3, 1])], constants: [array([0, -1])] },
  ],
  Unsqueeze: [
    { feeds: [m], attributes: { axes: ints([0, 3]) }, opset: 11 },
    { feeds: [m], constants: [array([-1, 0])] },
  ],
  Expand: [{ feeds: [randn([3, 1])], constants: [array([2, 1, 4])] }],
  Tile: [{ feeds: [m], constants: [array([2, 3])] }],
  Concat: [
    { feeds: [randn([2, 3]), randn([2, 1], 1), randn([2, 0])], attributes: { axis: int(-1) } },
    { feeds: [array([1]), array([2, 3])], attributes: { axis: int(0) }, outputs: ['int64'] },
  ],
  Split: [
    { feeds: [x3], attributes: { axis: int(2), split: ints([3, 5]) }, outputs: ['float32', 'float32'], opset: 11 },
    { feeds: [x3], attributes: { axis: int(-1) }, outputs: ['float32', 'float32'] },
    { feeds: [x3], constants: [array([1, 2])], attributes: { axis: int(1) }, outputs: ['float32', 'float32'] },
    {
      feeds: [x3],
      attributes: { axis: int(2), num_outputs: int(3) },
      outputs: ['float32', 'float32', 'float32'],
      opset: 18,
    },
  ],
  Slice: [
    { feeds: [x3], attributes: { starts: ints([1, -3]), ends: ints([2, 1000]), axes: ints([0, 2]) }, opset: 7 },
    { feeds: [x3], constants: [array([-1]), array([-1000]), array([-1]), array([-2])], opset: 10 },
    { feeds: [x3], constants: [array([0, 1]), array([1, 9])] },
    { feeds: [x3], constants: [array([5]), array([2]), array([2])] },
  ],
  Pad: [
    { feeds: [m], attributes: { pads: ints([1, 0, 0, 2]), value: float(1.5) }, opset: 7 },
    { feeds: [m], attributes: { pads: ints([1, 2, 1, 1]), mode: string('reflect') }, opset: 10 },
    { feeds: [m], constants: [array([0, 1, 2, 0]), scalar(2)], opset: 11 },
    { feeds: [m], constants: [array([-1, 1, 0, -2])], opset: 13 },
    { feeds: [m], constants: [array([1, 2]), null, array([-1])], attributes: { mode: string('edge') }, opset: 18 },
    { feeds: [m], constants: [array([1, 2, 0, 3])], attributes: { mode: string('wrap') }, opset: 19 },
  ],
  DepthToSpace: ['DCR', 'CRD'].map(mode => ({
    feeds: [randn([1, 8, 2, 3])],
    attributes: { blocksize: int(2), mode: string(mode) },
  })),
  SpaceToDepth: [{ feeds: [randn([1, 2, 4, 6])], attributes: { blocksize: int(2) } }],
  // Shapes and constants
  Shape: [
    { feeds: [x3], outputs: ['int64'] },
    { feeds: [x3], attributes: { start: int(-2), end: int(3) }, outputs: ['int64'] },
  ],
  Size: [{ feeds: [x3], outputs: ['int64'] }],
  Constant: [
    { attributes: { value: tensor(m) } },
    { attributes: { value_float: float(2.5) } },
    { attributes: { value_ints: ints([1, 2]) }, outputs: ['int64'] },
    { attributes: { value_floats: floatList([1, 2]) } },
  ],
  ConstantOfShape: [
    { constants: [array([2, 3])] },
    { constants: [array([2, 0])], attributes: { value: tensor(array([7])) }, outputs: ['int64'] },
    { constants: [array([300, 300])], attributes: { value: tensor(floats([1.5])) } },
  ],
  Range: [
    { constants: [array([2], []), array([11], []), array([3], [])], outputs: ['int64'] },
    { constants: [scalar(1), scalar(-1), scalar(-0.5)] },
  ],
  NonZero: [{ constants: [bools([0, 1, 1, 0, 1, 0], [2, 3])], outputs: ['int64'] }],
  EyeLike: [{ feeds: [m], attributes: { k: int(1) } }],
  // Reductions
  ...Object.fromEntries(
    ['Mean', 'Max', 'Min', 'Prod', 'L1', 'L2', 'SumSquare', 'LogSumExp'].map(kind => [
      `Reduce${kind}`,
      [
        { feeds: [x3], opset: 11 },
        { feeds: [x3], attributes: { axes: ints([0, -1]), keepdims: int(0) }, opset: 13 },
        { feeds: [x3], constants: [array([-2])], opset: 18 },
        { feeds: [x3], constants: [array([])], attributes: { noop_with_empty_axes: int(1) }, opset: 18 },
      ].slice(0, kind.startsWith('L') || kind === 'SumSquare' ? 3 : 4),
    ]),
  ),
  ReduceSum: [
    { feeds: [x3], attributes: { axes: ints([1]) }, opset: 11 },
    { feeds: [x3], constants: [array([1])], attributes: { keepdims: int(0) } },
    { feeds: [i32([1, 2, 3])], outputs: ['int32'] },
  ],
  ReduceLogSum: [{ feeds: [floats([1, 2, 3, 4], [2, 2])], constants: [array([1])], opset: 18 }],
  // Products
  MatMul: [
    { feeds: [randn([2, 1, 3, 4]), randn([5, 4, 2], 1)] },
    { feeds: [randn([4]), randn([4, 2], 1)] },
    { feeds: [randn([3, 4]), randn([4], 1)] },
  ],
  Gemm: [
    { feeds: [randn([2, 3])], constants: [randn([4, 3], 1), randn([4], 2)], attributes: { transB: int(1) } },
    {
      feeds: [randn([3, 2])],
      constants: [randn([3, 4], 1), randn([2, 1], 2)],
      attributes: { transA: int(1), alpha: float(0.5), beta: float(2) },
    },
    { feeds: [randn([2, 3])], constants: [randn([3, 4], 1)], opset: 11 },
  ],
  Einsum: ['bij,bjk->bik', 'bij,bjk', '...ij,...jk->...ik', 'ij->ji'].map(equation => ({
    feeds: equation.includes(',') ? [randn([2, 3, 4]), randn([2, 4, 5], 1)] : [m],
    attributes: { equation: string(equation) },
  })),
  FusedMatMul: [
    {
      feeds: [randn([2, 4, 3]), randn([2, 5, 4], 1)],
      attributes: { transA: int(1), transB: int(1), alpha: float(0.5) },
      domain: 'com.microsoft',
    },
  ],
  ConvInteger: [
    {
      feeds: [array([...Array(32).keys()], [1, 2, 4, 4], 'uint8')],
      constants: [
        array(
          Array.from({ length: 16 }, (_, i) => (i * 7) % 11),
          [2, 2, 2, 2],
          'uint8',
        ),
        array([3], [], 'uint8'),
        array([5], [], 'uint8'),
      ],
      attributes: { strides: ints([2, 1]), pads: ints([1, 0, 0, 1]) },
      outputs: ['int32'],
    },
  ],
  MatMulInteger: [
    {
      feeds: [array([1, 2, 3, 4], [2, 2], 'uint8'), array([5, 6, 7, 8], [2, 2], 'uint8')],
      constants: [array([1], [], 'uint8'), array([2], [], 'uint8')],
      outputs: ['int32'],
    },
  ],
  // Convolution
  Conv: [
    {
      feeds: [x4],
      constants: [randn([4, 3, 3, 3], 1), randn([4], 2)],
      attributes: { pads: ints([1, 0, 2, 1]), strides: ints([2, 1]) },
    },
    { feeds: [x4], constants: [randn([6, 1, 3, 3], 1)], attributes: { group: int(3), dilations: ints([2, 1]) } },
    ...['SAME_UPPER', 'SAME_LOWER', 'VALID'].map(mode => ({
      feeds: [x4],
      constants: [randn([2, 3, 2, 3], 1)],
      attributes: { auto_pad: string(mode), strides: ints([2, 2]), kernel_shape: ints([2, 3]) },
    })),
    { feeds: [x3], constants: [randn([2, 3, 3], 1)] },
    { feeds: [randn([1, 2, 3, 4, 5])], constants: [randn([2, 2, 2, 2, 2], 1)] },
  ],
  ConvTranspose: [
    {
      feeds: [x4],
      constants: [randn([3, 2, 3, 3], 1), randn([2], 2)],
      attributes: { strides: ints([2, 3]), pads: ints([1, 0, 0, 1]), output_padding: ints([1, 0]) },
    },
    {
      feeds: [randn([1, 4, 3, 3])],
      constants: [randn([4, 2, 3, 3], 1)],
      attributes: { group: int(2), strides: ints([2, 2]), auto_pad: string('SAME_UPPER') },
    },
    {
      feeds: [randn([1, 1, 3, 3])],
      constants: [randn([1, 2, 3, 3], 1)],
      attributes: { strides: ints([3, 2]), output_shape: ints([10, 8]) },
    },
  ],
  // Pooling
  MaxPool: [
    { feeds: [x4], attributes: { kernel_shape: ints([3, 2]) }, opset: 7 },
    {
      feeds: [x4],
      attributes: {
        kernel_shape: ints([2, 3]),
        strides: ints([2, 2]),
        pads: ints([1, 0, 0, 2]),
        dilations: ints([2, 1]),
      },
    },
    { feeds: [x4], attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]), ceil_mode: int(1) } },
    ...['SAME_UPPER', 'SAME_LOWER', 'VALID'].map(mode => ({
      feeds: [x4],
      attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]), auto_pad: string(mode) },
    })),
    { feeds: [x3], attributes: { kernel_shape: ints([3]) } },
  ],
  AveragePool: [
    {
      feeds: [x4],
      attributes: { kernel_shape: ints([3, 2]), pads: ints([1, 1, 1, 0]), strides: ints([2, 1]) },
      opset: 7,
    },
    { feeds: [x4], attributes: { kernel_shape: ints([3, 3]), pads: ints([1, 1, 1, 1]), count_include_pad: int(1) } },
    { feeds: [x4], attributes: { kernel_shape: ints([2, 3]), strides: ints([2, 2]), ceil_mode: int(1) }, opset: 19 },
    { feeds: [x4], attributes: { kernel_shape: ints([2, 3]), dilations: ints([2, 1]) }, opset: 19 },
    { feeds: [x4], attributes: { kernel_shape: ints([3, 3]), auto_pad: string('SAME_UPPER') } },
  ],
  GlobalAveragePool: [{ feeds: [x4] }],
  GlobalMaxPool: [{ feeds: [x3] }],
  LpPool: [{ feeds: [x4], attributes: { kernel_shape: ints([3, 2]), pads: ints([1, 0, 1, 0]), p: int(3) } }],
  GlobalLpPool: [{ feeds: [x4], attributes: { p: int(2) } }],
  // Interpolation
  Upsample: [
    { feeds: [x4], attributes: { scales: floatList([1, 1, 2, 3]) }, opset: 7 },
    { feeds: [x4], constants: [floats([1, 1, 2, 2])], attributes: { mode: string('linear') }, opset: 9 },
  ],
  Resize: [
    { feeds: [x4], constants: [floats([1, 1, 2, 2])], opset: 10 },
    { feeds: [x4], constants: [floats([]), floats([1, 1, 0.6, 1.5])], opset: 11 },
    ...['half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'].flatMap(coordinates =>
      ['nearest', 'linear', 'cubic'].map(mode => ({
        feeds: [x4],
        constants: [null, null, array([2, 3, 8, 4])],
        attributes: { mode: string(mode), coordinate_transformation_mode: string(coordinates) },
        opset: 13,
      })),
    ),
    ...['round_prefer_ceil', 'floor', 'ceil'].map(mode => ({
      feeds: [x4],
      constants: [null, floats([1, 1, 1.7, 0.8])],
      attributes: { nearest_mode: string(mode) },
    })),
    {
      feeds: [x4],
      constants: [null, null, array([7, 9])],
      attributes: { axes: ints([2, 3]), mode: string('linear') },
      opset: 18,
    },
    { feeds: [randn([4, 5])], constants: [null, floats([2, 1.5])], attributes: { mode: string('linear') }, opset: 13 },
  ],
  GridSample: ['zeros', 'border', 'reflection'].map(padding => ({
    feeds: [x4, randn([2, 4, 3, 2], 6, 0.8)],
    attributes: { padding_mode: string(padding), align_corners: int(padding === 'border' ? 1 : 0) },
  })),
  // Normalisation
  BatchNormalization: [9, 15].map(opset => ({
    feeds: [x4],
    constants: [randn([3], 1), randn([3], 2), randn([3], 3), floats([0.5, 1, 2])],
    attributes: { epsilon: float(1e-3) },
    opset,
  })),
  InstanceNormalization: [{ feeds: [x4], constants: [randn([3], 1), randn([3], 2)] }],
  LayerNormalization: [
    { feeds: [x3], constants: [randn([8], 1), randn([8], 2)] },
    {
      feeds: [x3],
      constants: [randn([3, 8], 1)],
      attributes: { axis: int(1) },
      outputs: ['float32', 'float32', 'float32'],
    },
  ],
  GroupNormalization: [
    {
      feeds: [randn([2, 4, 3])],
      constants: [randn([2], 1), randn([2], 2)],
      attributes: { num_groups: int(2) },
      opset: 18,
    },
    {
      feeds: [randn([2, 4, 3])],
      constants: [randn([4], 1), randn([4], 2)],
      attributes: { num_groups: int(2) },
      opset: 21,
    },
  ],
  LRN: [{ feeds: [randn([1, 6, 2, 2])], attributes: { size: int(3), alpha: float(0.1), bias: float(2) } }],
  LpNormalization: [1, 2].map(p => ({ feeds: [x3], attributes: { p: int(p), axis: int(1) } })),
  MeanVarianceNormalization: [{ feeds: [x4] }],
  RMSNormalization: [
    { feeds: [x3], constants: [randn([8], 1)], opset: 23 },
    { feeds: [x3], constants: [randn([3, 8], 1)], attributes: { axis: int(1), epsilon: float(0.1) }, opset: 23 },
  ],
  SkipSimplifiedLayerNormalization: [
    { feeds: [x3, randn([2, 3, 8], 5)], constants: [randn([8], 1), randn([8], 3)], domain: 'com.microsoft' },
  ],
  SkipLayerNormalization: [
    {
      feeds: [x3, randn([2, 3, 8], 5)],
      constants: [randn([8], 1), randn([8], 2), randn([8], 3)],
      domain: 'com.microsoft',
    },
  ],
  BiasGelu: [{ feeds: [m], constants: [randn([4], 1)], domain: 'com.microsoft' }],
  FastGelu: [{ feeds: [m], domain: 'com.microsoft' }],
  QuickGelu: [{ feeds: [m], domain: 'com.microsoft' }],
  // Positions
  Gather: [
    { feeds: [m], constants: [array([0, -1], [2, 1])], attributes: { axis: int(1) } },
    { feeds: [m], constants: [array([-1], [])] },
    { feeds: [m, array([2, 0])] },
  ],
  GatherElements: [{ feeds: [m, array([0, -1, 2, 1], [1, 4])], attributes: { axis: int(0) } }],
  GatherND: [
    { feeds: [x3], constants: [array([0, 1, -1, 2], [2, 2])] },
    {
      feeds: [x3],
      constants: [array([0, 2], [2, 1])],
      attributes: { batch_dims: int(1) },
    },
  ],
  ScatterElements: [
    { feeds: [m, array([1, 2, 0, 1], [1, 4]), randn([1, 4], 1)] },
    {
      feeds: [m, array([1, 1, 0, -1], [1, 4]), randn([1, 4], 1)],
      attributes: { axis: int(1), reduction: string('add') },
      opset: 16,
    },
  ],
  Scatter: [{ feeds: [m, array([1, 2, 0, 1], [1, 4]), randn([1, 4], 1)], opset: 9 }],
  ScatterND: [
    { feeds: [x3], constants: [array([1, 2, 0, -2], [2, 2]), randn([2, 8], 1)] },
    {
      feeds: [m],
      constants: [array([1, -1], [2, 1]), randn([2, 4], 1)],
      attributes: { reduction: string('add') },
      opset: 16,
    },
  ],
  OneHot: [
    { feeds: [array([0, -1, 5, 2])], constants: [array([3], []), floats([-1, 2])] },
    { feeds: [array([0, 1])], constants: [array([3], []), floats([0, 1])], attributes: { axis: int(0) } },
  ],
  Trilu: [
    { feeds: [x3], constants: [array([1], [])] },
    { feeds: [x3], attributes: { upper: int(0) } },
  ],
  CumSum: [
    { feeds: [x3], constants: [array([-1], [], 'int32')] },
    { feeds: [x3], constants: [array([1], [])], attributes: { exclusive: int(1), reverse: int(1) } },
  ],
  ArgMax: [
    { feeds: [x3], outputs: ['int64'], opset: 11 },
    { feeds: [floats([1, 3, 3, 2])], attributes: { select_last_index: int(1), keepdims: int(0) }, outputs: ['int64'] },
  ],
  ArgMin: [{ feeds: [x3], attributes: { axis: int(-1), keepdims: int(0) }, outputs: ['int64'] }],
  TopK: [
    { feeds: [m], attributes: { k: int(2) }, outputs: ['float32', 'int64'], opset: 7 },
    { feeds: [m], constants: [array([2])], outputs: ['float32', 'int64'], opset: 10 },
    {
      feeds: [m],
      constants: [array([3])],
      attributes: { axis: int(0), largest: int(0) },
      outputs: ['float32', 'int64'],
    },
  ],
  Compress: [
    { feeds: [m], constants: [bools([1, 0, 1])], attributes: { axis: int(0) } },
    { feeds: [m], constants: [bools([0, 1, 1])] },
  ],
  // Quantisation
  QuantizeLinear: [
    { feeds: [x3], constants: [scalar(0.05), array([128], [], 'uint8')], outputs: ['uint8'] },
    {
      feeds: [x3],
      constants: [floats([0.01, 0.02, 0.03]), array([0, 1, -3], [3], 'int8')],
      attributes: { axis: int(1) },
      outputs: ['int8'],
    },
  ],
  DequantizeLinear: [
    { feeds: [array([0, 128, 255], [3], 'uint8')], constants: [scalar(0.05), array([128], [], 'uint8')] },
    { feeds: [array([1, 2, 3, 4], [2, 2], 'int8')], constants: [floats([0.1, 0.2])], attributes: { axis: int(0) } },
  ],
  DynamicQuantizeLinear: [{ feeds: [m], outputs: ['uint8', 'float32', 'uint8'] }],
  // Recurrent: [time, batch, input], hidden size 4
  ...Object.fromEntries(
    (
      [
        ['RNN', 1],
        ['GRU', 3],
        ['LSTM', 4],
      ] as const
    ).map(([op, gates]) => {
      const outputs = new Array(op === 'LSTM' ? 3 : 2).fill('float32');
      const weights = (d: number) => [
        randn([d, gates * 4, 2], 1),
        randn([d, gates * 4, 4], 2),
        randn([d, gates * 8], 3),
      ];
      const sequence = randn([5, 3, 2], 4);
      const hidden = { hidden_size: int(4) };
      return [
        op,
        [
          { feeds: [sequence], constants: weights(1), attributes: hidden, outputs, opset: 7 },
          {
            feeds: [sequence],
            constants: weights(1).slice(0, 2),
            attributes: { ...hidden, direction: string('reverse') },
            outputs,
          },
          {
            feeds: [sequence],
            constants: [
              ...weights(2),
              i32([5, 2, 3]),
              randn([2, 3, 4], 6),
              ...(op === 'LSTM' ? [randn([2, 3, 4], 7), randn([2, 12], 8)] : []),
            ],
            attributes: { ...hidden, direction: string('bidirectional') },
            outputs,
          },
          {
            feeds: [sequence],
            constants: weights(1),
            attributes: {
              ...hidden,
              clip: float(0.3),
              activations: strings(
                ['HardSigmoid', 'Softsign', 'LeakyRelu'].slice(0, op === 'RNN' ? 1 : op === 'GRU' ? 2 : 3),
              ),
              activation_alpha: floatList(op === 'LSTM' ? [0.3, 0.1] : [0.3]),
              activation_beta: floatList([0.6]),
              ...(op === 'GRU' && { linear_before_reset: int(1) }),
              ...(op === 'LSTM' && { input_forget: int(1) }),
            },
            outputs,
          },
        ],
      ];
    }),
  ),
};

describe('imported operators equal ONNX Runtime', () => {
  for (const [opType, cases] of Object.entries(table)) {
    it(opType, async () => {
      for (const [i, c] of cases.entries()) {
        const { model, feeds } = singleNode(opType, c);
        const expected = await runDirectly(model, feeds);
        const problem = difference(await runImported(model, feeds), expected);
        expect(problem, `case ${i}`).toBe('');
      }
    });
  }
});
