import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['packages/*/{src,web}/**/*.test.ts', 'scripts/**/*.test.ts', 'docs/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    // Two workers on two cores: more threads would only wait for each other.
    env: { GOSSAMER_THREADS: '1' },
  },
});
