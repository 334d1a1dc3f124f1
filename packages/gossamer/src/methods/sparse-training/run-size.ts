import { check } from '@gossamer/tensor';

/** One pre-training run, as far as a scaling law sees it. */
export interface Run {
  readonly name?: string;
  /** D: tokens it was trained on. */
  readonly tokens: number;
  /** Final loss on held-out text, nats per token. */
  readonly loss: number;
  /**
   * Active parameters over the training: from which token on how many. The first entry is at token 0. A dense run has one
   * entry.
   */
  readonly active: readonly (readonly [token: number, parameters: number])[];
}

/**
 * What stands for a run's size in the law: N̄, the mean of the active parameters over the `average` token (the paper's),
 * or over compute, or the `initial` or `final` count.
 */
export type SizeKind = 'average' | 'average-compute' | 'initial' | 'final';
export const sizeKinds: readonly SizeKind[] = ['average', 'average-compute', 'initial', 'final'];

/** The run, or an error that says what it lacks. */
export function checkedRun(run: Run, what = `run ${run.name ?? ''}`.trim()): Run {
  const { tokens, loss, active } = run;
  check(tokens > 0 && Number.isFinite(tokens), () => `${what}: tokens ${tokens}; expected a number above 0`);
  check(loss > 0 && Number.isFinite(loss), () => `${what}: loss ${loss}; expected a number above 0`);
  check(
    Array.isArray(active) && active.length > 0,
    () => `${what}: has no active parameter counts; give "active": [[token, parameters], …], for a dense run one entry`,
  );
  check(active[0][0] === 0, () => `${what}: its counts begin at token ${active[0][0]}; expected 0`);
  active.forEach(([token, parameters], i) => {
    check(parameters > 0, () => `${what}: ${parameters} active parameters at token ${token}; expected more than 0`);
    check(
      i === 0 || token > active[i - 1][0],
      () => `${what}: token ${token} of its counts follows ${active[i - 1][0]}; expected rising tokens`,
    );
  });
  return run;
}

/** The run of a training whose steps see the same number of tokens; counts are those of its sparsifier's log. */
export const runOf = (
  log: readonly { readonly step: number; readonly active: number }[],
  { steps, tokensPerStep, loss }: { readonly steps: number; readonly tokensPerStep: number; readonly loss: number },
): Run => ({
  tokens: steps * tokensPerStep,
  loss,
  // A change after the last step counts for no token, but it is the final size.
  active: log.filter(e => e.step <= steps).map(e => [e.step * tokensPerStep, e.active] as const),
});

/** Σ f(n)·tokens over the pieces of constant size. */
function overTokens({ tokens, active }: Run, f: (parameters: number) => number): number {
  return active.reduce((sum, [from, n], i) => {
    const to = Math.min(tokens, active[i + 1]?.[0] ?? tokens);
    return sum + f(n) * Math.max(0, to - from);
  }, 0);
}

/** C = Σ 6·n·tokens: floating-point operations of the training, which is 6·N̄·D. */
export const trainingCompute = (run: Run): number => 6 * overTokens(run, n => n);

/** The size of a run in the law. */
export function runSize(run: Run, kind: SizeKind = 'average'): number {
  if (kind === 'initial') return run.active[0][1];
  if (kind === 'final') return run.active.at(-1)![1];
  const mean = overTokens(run, n => n) / run.tokens;
  return kind === 'average' ? mean : overTokens(run, n => n * n) / run.tokens / mean;
}
