import { check, type Node, reachable, Tensor } from '@gossamer/tensor';

/** A classifier's graph cut at its last linear layer. */
export interface Head {
  /** What the last linear layer reads, [batch, width]: the penultimate activations. */
  readonly features: Tensor;
  /** [batch, classes], before a softmax, if the model ends in one. */
  readonly logits: Tensor;
}

/**
 * Finds the last linear layer of a classifier by walking back from its output; modules and imported ONNX files alike.
 *
 * @param output what `model.forward(input)` gave; the first of several outputs
 */
export function headOf(output: Tensor | Readonly<Record<string, Tensor>>, input: Tensor): Head {
  const result = output instanceof Tensor ? output : Object.values(output)[0];
  let logits = result;
  let node = result.node;
  for (;;) {
    const { name } = node.op;
    if (name === 'linear' || name === 'matmul') break;
    if (name === 'softmax') logits = new Tensor(node.inputs[0]);
    // The way back is clear as long as one input alone comes from the model's input.
    const before: readonly Node[] = node.inputs.filter(i => reachable([i]).includes(input.node));
    check(
      before.length === 1,
      () =>
        `headOf: walking back from the output ends at operator '${name}', before any linear layer; the model has no linear head`,
    );
    [node] = before;
  }
  const features = new Tensor(node.inputs[0]);
  const rows = (t: Tensor) => (t.rank === 2 ? t : t.reshape([t.shape[0], t.size / t.shape[0]]));
  return { features: rows(features), logits: rows(logits) };
}
