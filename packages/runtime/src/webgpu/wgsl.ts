/** The one compute kernel, Y = W · X with its epilogue, written out for a pattern, a tile and the switches that a call needs. */
import { groupOf, type Pattern, sparsityOf } from './pack.ts';

/** How one workgroup of `pixelThreads` × `rowThreads` covers Y: each thread computes 4 pixels of `units` × `group` rows. */
export interface Tile {
  readonly pixelThreads: number;
  readonly rowThreads: number;
  readonly units: number;
  readonly group: number;
  /** Rows and pixels of Y that a workgroup covers. */
  readonly rows: number;
  readonly pixels: number;
  /** Rows of X in workgroup memory at a time. */
  readonly depth: number;
}

/** The tile for a pattern and a number of pixels: few pixels give their threads to rows. At most 256 threads and 16 KiB. */
export function tileOf(pattern: Pattern, pixels: number): Tile {
  const [pixelThreads, rowThreads] = pixels <= 4 ? [1, 64] : pixels <= 16 ? [4, 32] : [16, 16];
  const group = groupOf(pattern);
  const units = Math.ceil(64 / rowThreads / group);
  const m = sparsityOf(pattern)?.m ?? (pattern === 'dense' ? 1 : undefined);
  return {
    pixelThreads,
    rowThreads,
    units,
    group,
    rows: rowThreads * units * group,
    pixels: pixelThreads * 4,
    depth: m ? m * Math.floor(16 / m) : 64,
  };
}

/** Fields of the uniform block: u32 but the last two (f32). `wr`: distance between rows of W, and so on; `wb`: between matrices. */
export const FIELDS = [
  'flags',
  'rows',
  'cols',
  'pixels',
  'wr',
  'wc',
  'wb',
  'xc',
  'xp',
  'xb',
  'yr',
  'yp',
  'yb',
  'y0',
  'lo',
  'hi',
];

/** Bits of `flags`. A residual lies in Y when the kernel begins. The last two say which of its neighbours are consecutive. */
export const BIAS = 1;
export const RESIDUAL = 2;
export const LOW = 4;
export const HIGH = 8;
export const X_ALONG_PIXELS = 16;
export const W_ALONG_ROWS = 32;

const list = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n');

/** What differs by pattern: declarations, state before the loop over panels of X, loading a panel of W, and the sums over a panel. */
interface Body {
  readonly declare: string;
  readonly begin: string;
  readonly load: string;
  readonly sum: string;
}

function blocks({ pixelThreads, rowThreads, units, group, depth }: Tile): Body {
  return {
    declare: '@group(0) @binding(5) var<storage, read> index: array<u32>;',
    begin: `let groups = (d.rows + ${group - 1}) / ${group};
${list(
  units,
  u => `var c${u} = 0u; var e${u} = 0u;
let g${u} = wg.y * ${rowThreads * units} + ty + ${u * rowThreads};
if (g${u} < groups) { c${u} = index[g${u}]; e${u} = index[g${u} + 1]; }`,
)}`,
    load: '',
    sum: list(
      units,
      u => `for (; c${u} < e${u}; c${u}++) {
let k = index[groups + 1 + c${u}] - k0;
if (k >= ${depth}) { break; }
let v = xs[k * ${pixelThreads} + tx];
${list(group, j => `a[${u * group + j}] += w[c${u} * ${group} + ${j}] * v;`)}
}`,
    ),
  };
}

/** A dense matrix is 1:1: every column is kept, and the k-th kept value meets the k-th row of the panel. */
function regular({ pixelThreads, rowThreads, units, rows, depth }: Tile, nm?: { n: number; m: number }): Body {
  const { n, m } = nm ?? { n: 1, m: 1 };
  const kept = (depth / m) * n;
  const at = (u: number) => `at + ${u * rowThreads}`;
  return {
    declare: `var<workgroup> ws: array<f32, ${kept * rows}>;
${nm ? `var<workgroup> ks: array<u32, ${kept * rows}>; @group(0) @binding(5) var<storage, read> index: array<u32>;` : ''}`,
    begin: '',
    load: `for (var i = lane; i < ${kept * rows}; i += threads) {
let e = select(i % ${kept}, i / ${rows}, is(${W_ALONG_ROWS}));
let r = select(i / ${kept}, i % ${rows}, is(${W_ALONG_ROWS}));
let s = k0 / ${m} * ${n} + e; let row = wg.y * ${rows} + r;
var v = 0.0; var k = 0u;
if (row < d.rows && s < (d.cols + ${m - 1}) / ${m} * ${n}) {
v = w[wg.z * d.wb + row * d.wr + s * d.wc];
${nm ? 'k = (index[row * ((d.wr + 7) / 8) + s / 8] >> (s % 8 * 4)) & 15;' : ''}
}
ws[e * ${rows} + r] = v;
${nm ? `ks[e * ${rows} + r] = e / ${n} * ${m} + k;` : ''}
}`,
    sum: `for (var e = 0u; e < ${kept}; e++) {
let at = e * ${rows} + ty;
${nm ? '' : `let v = xs[e * ${pixelThreads} + tx];`}
${list(units, u => `a[${u}] += ws[${at(u)}] * ${nm ? `xs[ks[${at(u)}] * ${pixelThreads} + tx]` : 'v'};`)}
}`,
  };
}

/**
 * The kernel's source. Panels of `depth` rows of X pass through workgroup memory; thread (tx, ty) holds pixels
 * tx + j · pixelThreads as the components j of its vectors, so that neighbours read and write neighbouring pixels.
 */
export function wgsl(pattern: Pattern, tile: Tile): string {
  const { pixelThreads, rowThreads, units, group, pixels, depth } = tile;
  const nm = sparsityOf(pattern);
  const { declare, begin, load, sum } = nm || pattern === 'dense' ? regular(tile, nm) : blocks(tile);
  return `struct D { ${FIELDS.map((name, i) => `${name}: ${i < 14 ? 'u32' : 'f32'}`).join()} }
@group(0) @binding(0) var<uniform> d: D;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
var<workgroup> xs: array<vec4f, ${depth * pixelThreads}>;
${declare}
fn is(flag: u32) -> bool { return (d.flags & flag) != 0; }
@compute @workgroup_size(${pixelThreads}, ${rowThreads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
const threads = ${pixelThreads * rowThreads}u;
let tx = id.x; let ty = id.y; let p0 = wg.x * ${pixels};
var a: array<vec4f, ${units * group}>;
${begin}
for (var k0 = 0u; k0 < d.cols; k0 += ${depth}) {
for (var i = lane; i < ${depth * pixelThreads}; i += threads) {
let k = select(i % ${depth}, i / ${pixelThreads}, is(${X_ALONG_PIXELS}));
let q = select(i / ${depth}, i % ${pixelThreads}, is(${X_ALONG_PIXELS}));
var v = vec4f();
for (var j = 0u; j < 4; j++) {
let p = p0 + q + j * ${pixelThreads};
if (k0 + k < d.cols && p < d.pixels) { v[j] = x[wg.z * d.xb + (k0 + k) * d.xc + p * d.xp]; }
}
xs[k * ${pixelThreads} + q] = v;
}
${load}
workgroupBarrier();
${sum}
workgroupBarrier();
}
for (var u = 0u; u < ${units * group}; u++) {
for (var j = 0u; j < 4; j++) {
let r = (wg.y * ${rowThreads * units} + ty + u / ${group} * ${rowThreads}) * ${group} + u % ${group};
let p = p0 + tx + j * ${pixelThreads};
if (r < d.rows && p < d.pixels) {
let i = d.y0 + wg.z * d.yb + r * d.yr + p * d.yp;
var v = a[u][j];
if (is(${BIAS})) { v += bias[r]; }
if (is(${RESIDUAL})) { v += y[i]; }
if (is(${LOW})) { v = select(v, d.lo, v < d.lo); }
if (is(${HIGH})) { v = select(v, d.hi, v > d.hi); }
y[i] = v;
}
}
}
}`;
}
