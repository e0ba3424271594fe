import { defineConfig } from 'vitest/config';

const wantsCluster = /(^| )--project[ =]cluster( |$)/.test(process.argv.join(' '));

const globalSetup = ['./test/support/global-setup.ts'];

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 20_000,
    hookTimeout: 60_000,
    // All processors: by default one is left free, which on two is half the machine.
    maxWorkers: '100%',
    reporters: ['default', './test/support/reporter.ts'],
    // The same restrictions as in production: no code from strings, no __proto__ (SECURITY.md S05, S06).
    execArgv: ['--disallow-code-generation-from-strings', '--disable-proto=delete'],
    projects: [
      {
        extends: true,
        test: {
          globalSetup,
          name: 'unit',
          include: [
            'src/**/*.test.ts',
            'bench/**/*.test.ts',
            'test/structure/**/*.test.ts',
            'test/support/**/*.test.ts',
            'test/kubernetes/**/*.test.ts',
            'test/monitoring/**/*.test.ts',
          ],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          globalSetup,
          name: 'integration',
          include: ['test/integration/**/*.test.ts', 'test/packages/*.test.ts'],
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          globalSetup,
          name: 'security',
          include: ['test/security/**/*.test.ts'],
          // Attacks on processors and memory are nothing to run other tests beside.
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          globalSetup: [...globalSetup, './test/support/build-setup.ts'],
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Whole platforms are started and killed here; one file at a time keeps their timing their own.
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        test: {
          globalSetup: ['./test/support/build-setup.ts'],
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 4 },
        },
      },
      // Takes a cluster and a quarter of an hour, so that only those get it who ask: `npm run test:cluster`.
      ...(wantsCluster
        ? [
            {
              extends: true as const,
              test: {
                globalSetup: ['./test/cluster/setup.ts'],
                name: 'cluster',
                include: ['test/cluster/**/*.test.ts'],
                fileParallelism: false,
              },
            },
          ]
        : []),
    ],
  },
});
