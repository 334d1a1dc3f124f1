/**
 * The channels along one axis of a tensor: position p holds part `part[p]` of channel `channel[p]`. A convolution's
 * output has one position a channel; flattened, a channel has a position for each pixel, and these are its parts.
 */
export interface ChannelAxis {
  readonly channel: Int32Array;
  readonly part: Int32Array;
}

/** One entry an axis; nothing where positions are no channels (batch, space) or are only one. */
export type Axes = readonly (ChannelAxis | undefined)[];

/** What is to happen to channels: they change places among themselves, or some of them are removed for good. */
export type ChannelUse = 'exchange' | 'removal';

/**
 * Names for channels, and which names mean the same: a union-find whose links carry a shift of the part, so that single
 * channels and the blocks of a flattened or grouped axis can be told to be the same thing.
 */
export class ChannelLabels {
  readonly use: ChannelUse;
  /** Where in the graph fixing happens at the moment, for {@link whyFixed}. */
  where: () => string = () => '';
  readonly #parent: number[] = [];
  readonly #shift: number[] = [];
  readonly #fixed: ((() => string) | undefined)[] = [];
  readonly #removed: boolean[] = [];

  constructor(use: ChannelUse = 'exchange') {
    this.use = use;
  }

  /** An axis of `length` channels that nothing is known about yet. */
  fresh(length: number): ChannelAxis {
    const first = this.#parent.length;
    for (let i = 0; i < length; i++) {
      this.#parent.push(first + i);
      this.#shift.push(0);
      this.#fixed.push(undefined);
      this.#removed.push(false);
    }
    return { channel: Int32Array.from({ length }, (_, i) => first + i), part: new Int32Array(length) };
  }

  /** The same axis by the names that stand for all others. */
  resolve({ channel, part }: ChannelAxis): ChannelAxis {
    const found = Array.from(channel, c => this.#find(c));
    return {
      channel: Int32Array.from(found, f => f.root),
      part: part.map((p, i) => p + found[i].shift),
    };
  }

  /** The name that stands for all others of a channel. */
  rootOf(channel: number): number {
    return this.#find(channel).root;
  }

  /** Whether a channel has to stay where it is. */
  isFixed(channel: number): boolean {
    return this.#fixed[this.#find(channel).root] !== undefined;
  }

  /** Why a channel has to stay: what was said when it was fixed first. */
  whyFixed(channel: number): string | undefined {
    return this.#fixed[this.#find(channel).root]?.();
  }

  /** The positions of the axis mean something (pixels, classes, an input's channels): its channels stay. */
  fix(axis: ChannelAxis | undefined, reason = 'its positions have a meaning'): undefined {
    const { where } = this;
    for (const c of axis?.channel ?? []) this.#fixed[this.#find(c).root] ??= () => `${reason} (${where()})`;
    return undefined;
  }

  /** Marks a channel, and whatever is or becomes the same, as removed. */
  remove(channel: number): void {
    this.#removed[this.#find(channel).root] = true;
  }

  isRemoved(channel: number): boolean {
    return this.#removed[this.#find(channel).root];
  }

  /** Position by position, both axes hold the same channels. An axis without channels fixes the other. */
  unite(a: ChannelAxis | undefined, b: ChannelAxis | undefined): ChannelAxis | undefined {
    if (!a || !b) return this.fix(a ?? b, 'it meets positions that have a meaning');
    for (let i = 0; i < a.channel.length; i++) this.#unite(a.channel[i], a.part[i], b.channel[i], b.part[i]);
    return a;
  }

  #unite(a: number, partA: number, b: number, partB: number): void {
    const [x, y] = [this.#find(a), this.#find(b)];
    const shift = partB + y.shift - (partA + x.shift);
    if (x.root === y.root) {
      // Two parts of one channel cannot be the same: no exchange of channels would keep both where they belong.
      if (shift !== 0 && this.use === 'exchange') this.#fixed[x.root] ??= () => 'two of its parts are the same';
      return;
    }
    this.#parent[x.root] = y.root;
    this.#shift[x.root] = shift;
    this.#fixed[y.root] ??= this.#fixed[x.root];
    this.#removed[y.root] ||= this.#removed[x.root];
  }

  #find(channel: number): { root: number; shift: number } {
    let root = channel;
    let shift = 0;
    while (this.#parent[root] !== root) {
      shift += this.#shift[root];
      root = this.#parent[root];
    }
    // Path compression: every name on the way points to the root.
    let rest = shift;
    for (let c = channel; c !== root; ) {
      const [next, step] = [this.#parent[c], this.#shift[c]];
      this.#parent[c] = root;
      this.#shift[c] = rest;
      rest -= step;
      c = next;
    }
    return { root, shift };
  }
}
