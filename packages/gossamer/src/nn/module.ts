import {
  check,
  formatShape,
  GossamerError,
  type NDArray,
  Parameter,
  Random,
  type Tensor,
  toFloat32,
} from '@gossamer/tensor';

/** `runningMean` → `running_mean`: fields follow TypeScript's habit, names in files PyTorch's. */
const snakeCase = (name: string): string => name.replace(/(?<=[a-z0-9])[A-Z]/g, c => `_${c.toLowerCase()}`);

/**
 * A model or a part of one: a plain class whose fields are its parameters and sub-modules (also in arrays), and whose
 * `forward` is its equation. Nothing is registered; names are the paths of the fields, in snake_case, so that a
 * `stateDict` agrees with PyTorch's and Hugging Face's.
 */
export abstract class Module {
  /** Whether dropout and batch statistics behave as in training; `train()` and `eval()` set it for all parts. */
  training = true;

  // biome-ignore lint/suspicious/noExplicitAny: every module states its own inputs and outputs
  abstract forward(...inputs: any[]): any;

  /** What this module is made of: its fields by name, in snake_case, arrays item by item. */
  *members(): Generator<[string, unknown]> {
    for (const [key, value] of Object.entries(this)) {
      const name = snakeCase(key);
      if (Array.isArray(value)) for (const [i, item] of value.entries()) yield [`${name}.${i}`, item];
      else yield [name, value];
    }
  }

  /** This module and all below it, with their paths, outer before inner, in the order of the fields. */
  *namedModules(path = ''): Generator<[string, Module]> {
    yield [path, this];
    for (const [name, value] of this.members()) {
      if (value instanceof Module) yield* value.namedModules(join(path, name));
    }
  }

  /** All parameters with their names; a parameter shared by several modules comes once, under its first name. */
  *namedParameters(): Generator<[string, Parameter]> {
    const seen = new Set<Parameter>();
    for (const [path, module] of this.namedModules()) {
      for (const [name, value] of module.members()) {
        if (!(value instanceof Parameter) || seen.has(value)) continue;
        seen.add(value);
        value.name = join(path, name);
        yield [value.name, value];
      }
    }
  }

  /** The trainable parameters. */
  parameters(): Parameter[] {
    return [...this.namedParameters()].map(([, p]) => p).filter(p => p.trainable);
  }

  /** All random generators (of dropout, say), with their paths: part of what a checkpoint keeps. */
  *namedGenerators(): Generator<[string, Random]> {
    for (const [path, module] of this.namedModules()) {
      for (const [name, value] of module.members()) if (value instanceof Random) yield [join(path, name), value];
    }
  }

  /** Parameters and running statistics by name. */
  stateDict(): Map<string, Parameter> {
    return new Map(this.namedParameters());
  }

  /**
   * Takes over values by name, converted to each parameter's dtype (float32).
   *
   * @param strict default true: every parameter must be there, and every entry must be a parameter. PyTorch's
   *   `num_batches_tracked` counters are ignored always.
   */
  loadStateDict(state: Iterable<readonly [string, NDArray]> | Record<string, NDArray>, { strict = true } = {}): this {
    const entries = new Map(Symbol.iterator in state ? state : Object.entries(state));
    const own = this.stateDict();
    const missing = [...own.keys()].filter(n => !entries.has(n));
    const extra = [...entries.keys()].filter(n => !own.has(n) && !n.endsWith('num_batches_tracked'));
    check(
      !strict || (missing.length === 0 && extra.length === 0),
      () =>
        `loadStateDict: missing ${list(missing)}; not in the model: ${list(extra)}. Pass { strict: false } to ignore`,
    );
    for (const [name, p] of own) {
      const value = entries.get(name);
      if (value && formatShape(value.shape) !== formatShape(p.shape)) {
        throw new GossamerError(
          `loadStateDict: ${name} is ${formatShape(value.shape)}, expected ${formatShape(p.shape)}`,
        );
      }
    }
    for (const [name, p] of own) {
      const value = entries.get(name);
      if (value) p.set(value.dtype === p.dtype ? value.data.slice() : toFloat32(value).data);
    }
    return this;
  }

  train(mode = true): this {
    for (const [, module] of this.namedModules()) module.training = mode;
    return this;
  }

  eval(): this {
    return this.train(false);
  }
}

/** A module from a function without parameters: an activation, a reshape. */
export class Lambda extends Module {
  #fn: (x: Tensor) => Tensor;
  constructor(fn: (x: Tensor) => Tensor) {
    super();
    this.#fn = fn;
  }
  override forward(x: Tensor): Tensor {
    return this.#fn(x);
  }
}

const join = (path: string, name: string): string => (path === '' ? name : `${path}.${name}`);
const list = (names: string[]): string =>
  names.length === 0
    ? 'nothing'
    : `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;
