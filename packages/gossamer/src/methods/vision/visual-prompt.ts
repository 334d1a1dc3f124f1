import { check, Parameter, type Tensor, tensor, zeros } from '@gossamer/tensor';
import { Module } from '../../nn/module.ts';

export interface PromptOptions {
  /** What the source network takes, [channels, height, width]. */
  readonly source: readonly [channels: number, height: number, width: number];
  /** Height and width that target images have inside the frame; smaller than the source's. */
  readonly inner: number | readonly [height: number, width: number];
  /** Of the source network's normalisation, by channel or one for all, of values 0…1. */
  readonly mean: number | readonly number[];
  readonly std: number | readonly number[];
  /** `border` (default): x̃ = pad(x) + sigmoid(δ)⊙B. `additive`: x̃ = pad(x) + δ⊙B. */
  readonly prompt?: 'border' | 'additive';
}

/**
 * A visual prompt: target images [n, channels, p, p] of values 0…1 in the middle of a frame of the source's size, whose
 * border (B = 1) is learned, then the source's normalisation. With sigmoid(0) = ½ the frame is grey at first.
 * Bahng, Jahanian, Sankaranarayanan & Isola 2022, "Exploring Visual Prompts for Adapting Large-Scale Models"; Tsai, Chen
 * & Ho 2020.
 */
export class VisualPrompt extends Module {
  /** δ, [channels, height, width], zeros at first; the only thing that is trained. */
  readonly delta: Parameter;
  readonly inner: readonly [height: number, width: number];
  readonly #o: Required<PromptOptions>;
  readonly #border: Tensor;
  readonly #mean: Tensor;
  readonly #std: Tensor;

  constructor(options: PromptOptions) {
    super();
    const { source, inner, mean, std, prompt = 'border' } = options;
    const [channels, height, width] = source;
    this.inner = typeof inner === 'number' ? [inner, inner] : inner;
    const [h, w] = this.inner;
    check(
      h >= 1 && w >= 1 && h <= height && w <= width && (h < height || w < width),
      () => `VisualPrompt: images of ${h}×${w} leave no border in a frame of ${height}×${width}`,
    );
    check(prompt === 'border' || prompt === 'additive', () => `VisualPrompt: '${prompt}'; expected border or additive`);
    this.#o = { source, inner, mean, std, prompt };
    const [top, left] = this.#corner;
    const border = new Float32Array(height * width).fill(1);
    for (let y = top; y < top + h; y++) border.fill(0, y * width + left, y * width + left + w);
    this.#border = tensor({ dtype: 'float32', shape: [1, height, width], data: border });
    const perChannel = (values: number | readonly number[]) => {
      const list = typeof values === 'number' ? [values] : values;
      check(
        list.length === 1 || list.length === channels,
        () => `VisualPrompt: ${list.length} means or deviations for ${channels} channels`,
      );
      return tensor({ dtype: 'float32', shape: [list.length, 1, 1], data: Float32Array.from(list) });
    };
    this.#mean = perChannel(mean);
    this.#std = perChannel(std);
    this.delta = new Parameter({ dtype: 'float32', shape: source, data: new Float32Array(channels * height * width) });
  }

  get #corner(): [top: number, left: number] {
    const [, height, width] = this.#o.source;
    return [Math.floor((height - this.inner[0]) / 2), Math.floor((width - this.inner[1]) / 2)];
  }

  /** What the source network sees. */
  override forward(x: Tensor): Tensor {
    const { prompt } = this.#o;
    return this.#framed(x, (prompt === 'border' ? this.delta.sigmoid() : this.delta).mul(this.#border));
  }

  /** Without the prompt: the image in a black frame. */
  unprompted(x: Tensor): Tensor {
    return this.#framed(x, zeros(this.#o.source));
  }

  #framed(x: Tensor, frame: Tensor): Tensor {
    const [channels, height, width] = this.#o.source;
    const [h, w] = this.inner;
    check(
      x.rank === 4 && x.shape[1] === channels && x.shape[2] === h && x.shape[3] === w,
      () => `VisualPrompt: images [${x.shape}], expected [n, ${channels}, ${h}, ${w}]`,
    );
    const [top, left] = this.#corner;
    const padded = x.pad([
      [2, top, height - h - top],
      [3, left, width - w - left],
    ]);
    return padded.add(frame).sub(this.#mean).div(this.#std);
  }
}
