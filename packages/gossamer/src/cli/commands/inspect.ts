import { FormatError, openSafetensors, sizeOf, toFloat32, writeFile } from '@gossamer/tensor';
import { OpaqueTensor } from '@gossamer/tensor/onnx';
import { layer } from '../../sparsity/layer.ts';
import {
  type LayerRow,
  layerRow,
  type ReportRow,
  reportOf,
  reportTable,
  type SparsityReport,
  sparsityReport,
} from '../../sparsity/report.ts';
import { grouped, quantity } from '../../text.ts';
import { type CommonOptions, checkOutput, command as define, Output, shapes } from '../command.ts';
import { fedInputs, formatDimensions, openModel, type Shapes } from '../model-file.ts';

interface Options extends CommonOptions {
  svg?: string;
  shape?: Shapes;
}

/** What both kinds of file are described by. */
interface Description {
  readonly json: object;
  readonly heading: readonly string[];
  readonly report: SparsityReport;
  /** Whether FLOPs are known. */
  readonly flops: boolean;
  readonly footing: readonly string[];
}

export const command = define('inspect', 'model.onnx --svg model.svg', c =>
  c
    .argument('<model>', 'an .onnx or .safetensors file')
    .option('--svg <file.svg>', 'also draw the densities')
    .option('--shape <name=sizes>', 'sizes of an input that the file leaves free; may be repeated', shapes)
    .action(async (path: string, options: Options) => {
      if (options.svg !== undefined) checkOutput(options.svg);
      const output = new Output(options);
      const isSafetensors = /\.safetensors(\.index\.json)?$/.test(path);
      const found = isSafetensors ? await describeSafetensors(path, output) : await describeOnnx(path, options.shape);
      if (options.svg !== undefined) {
        const { reportSvg } = await import('../../sparsity/report-svg.ts');
        await writeFile(options.svg, [new TextEncoder().encode(reportSvg(found.report, path))]);
      }
      const { report, flops } = found;
      const counted = flops ? report : withoutFlops(report);
      output.result({ ...found.json, ...counted }, () =>
        [...found.heading, '', reportTable(report, { flops }), ...found.footing].join('\n'),
      );
    }),
);

async function describeOnnx(path: string, given?: Shapes): Promise<Description> {
  const { bytes, onnx, layers, untraced } = await openModel(path, given);
  const { graph, opsets } = onnx;
  const report = sparsityReport(layers);
  const names = new Set(layers.map(l => l.name));
  const others = [...graph.initializers].filter(([name, t]) => !names.has(name) && isFloat(t));
  const other = others.reduce((n, [, t]) => n + sizeOf(t.shape), 0);
  const operators = Object.groupBy(graph.nodes, n => (n.domain ? `${n.domain}.${n.opType}` : n.opType));
  const counts = Object.entries(operators)
    .map(([name, nodes]) => [name, nodes!.length] as const)
    .sort((a, b) => b[1] - a[1]);
  const values = [fedInputs(onnx), graph.outputs].map(list =>
    list.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
  );
  const [inputs, outputs] = values;
  const producer = [onnx.producerName, onnx.producerVersion].filter(Boolean).join(' ');
  const domains = Object.entries(opsets).map(([domain, version]) => (domain ? `${domain} ${version}` : `${version}`));
  const line = (v: (typeof inputs)[number]) => `${v.name}  ${v.dtype ?? 'unknown'} ${formatDimensions(v.shape)}`;
  const [first, ...rest] = counts.slice(0, 8).map(([name, n]) => `${n} ${name}`);
  return {
    json: {
      file: path,
      format: 'onnx',
      bytes,
      opsets,
      producer,
      inputs,
      outputs,
      operators: Object.fromEntries(counts),
      otherParameters: other,
      ...(untraced !== undefined && { note: untraced }),
    },
    heading: [
      `${path}  ONNX, operator set ${domains.join(', ')}, ${quantity(bytes)}B${producer ? `, by ${producer}` : ''}`,
      ...inputs.map((v, i) => `${i === 0 ? 'inputs ' : '       '}  ${line(v)}`),
      ...outputs.map((v, i) => `${i === 0 ? 'outputs' : '       '}  ${line(v)}`),
      `nodes    ${graph.nodes.length}: ${[first, ...rest].join(', ')}${counts.length > 8 ? ', …' : ''}`,
    ],
    report,
    flops: untraced === undefined,
    footing: [
      ...(other > 0 ? [`and ${grouped(other)} parameters of other kinds (biases, norms, constants)`] : []),
      ...(untraced !== undefined ? [`FLOPs are not known: ${untraced}`] : []),
    ],
  };
}

const isFloat = (t: { dtype: string }): boolean => !(t instanceof OpaqueTensor) && t.dtype.includes('float');

/** One tensor at a time is in memory. A file of weights does not say how often each is used. */
async function describeSafetensors(path: string, output: Output): Promise<Description> {
  await using file = await openSafetensors(path);
  using progress = await output.progress();
  const names = file.names().filter(name => file.info(name).dtype.includes('float'));
  const bar = progress.start('reading', names.length, { unit: 'tensors', transient: true });
  const rows: LayerRow[] = [];
  let other = 0;
  for (const [i, name] of names.entries()) {
    const { shape } = file.info(name);
    if (shape.length >= 2 && sizeOf(shape) > 0) {
      rows.push(layerRow(layer(name, shape, toFloat32(await file.read(name)).data)));
    } else other += sizeOf(shape);
    bar.update(i + 1);
  }
  bar.stop();
  if (rows.length === 0) throw new FormatError(`${path}: holds no float tensor with two axes or more`);
  const bytes = file.names().reduce((n, name) => n + file.info(name).byteLength, 0);
  const dtypes = [...new Set(file.names().map(name => file.info(name).dtype))];
  return {
    json: { file: path, format: 'safetensors', bytes, metadata: file.metadata, dtypes, otherParameters: other },
    heading: [`${path}  safetensors, ${file.names().length} tensors of ${dtypes.join(', ')}, ${quantity(bytes)}B`],
    report: reportOf(rows),
    flops: false,
    footing: other > 0 ? [`and ${grouped(other)} parameters in vectors (biases, norms)`] : [],
  };
}

function withoutFlops({ layers, total, ...rest }: SparsityReport): object {
  const drop = ({ flopsDense: _, flopsSparse: __, ...row }: ReportRow) => row;
  return { layers: layers.map(drop), total: drop(total), ...rest };
}
