import type { Tensor } from '@gossamer/tensor';
import { Module } from './module.ts';

export class Identity extends Module {
  override forward(x: Tensor): Tensor {
    return x;
  }
}

export class ReLU extends Module {
  override forward(x: Tensor): Tensor {
    return x.relu();
  }
}

/** min(max(x, 0), 6), of the MobileNets. */
export class ReLU6 extends Module {
  override forward(x: Tensor): Tensor {
    return x.relu6();
  }
}

export class LeakyReLU extends Module {
  readonly slope: number;
  constructor(slope = 0.01) {
    super();
    this.slope = slope;
  }
  override forward(x: Tensor): Tensor {
    return x.leakyRelu(this.slope);
  }
}

export class ELU extends Module {
  readonly alpha: number;
  constructor(alpha = 1) {
    super();
    this.alpha = alpha;
  }
  override forward(x: Tensor): Tensor {
    return x.elu(this.alpha);
  }
}

/** x·Φ(x); `approximate: 'tanh'` as in GPT-2. */
export class GELU extends Module {
  readonly approximate: 'none' | 'tanh';
  constructor({ approximate = 'none' }: { approximate?: 'none' | 'tanh' } = {}) {
    super();
    this.approximate = approximate;
  }
  override forward(x: Tensor): Tensor {
    return this.approximate === 'tanh' ? x.geluTanh() : x.gelu();
  }
}

/** x·σ(x), also called swish. */
export class SiLU extends Module {
  override forward(x: Tensor): Tensor {
    return x.silu();
  }
}

export class Mish extends Module {
  override forward(x: Tensor): Tensor {
    return x.mish();
  }
}

export class HardSwish extends Module {
  override forward(x: Tensor): Tensor {
    return x.hardSwish();
  }
}

export class HardSigmoid extends Module {
  override forward(x: Tensor): Tensor {
    return x.hardSigmoid();
  }
}

export class Sigmoid extends Module {
  override forward(x: Tensor): Tensor {
    return x.sigmoid();
  }
}

export class Tanh extends Module {
  override forward(x: Tensor): Tensor {
    return x.tanh();
  }
}

export class Softplus extends Module {
  override forward(x: Tensor): Tensor {
    return x.softplus();
  }
}

export class Softmax extends Module {
  readonly axis: number;
  constructor(axis = -1) {
    super();
    this.axis = axis;
  }
  override forward(x: Tensor): Tensor {
    return x.softmax(this.axis);
  }
}

export class LogSoftmax extends Module {
  readonly axis: number;
  constructor(axis = -1) {
    super();
    this.axis = axis;
  }
  override forward(x: Tensor): Tensor {
    return x.logSoftmax(this.axis);
  }
}
