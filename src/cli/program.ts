import { Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../core/definition/duration.ts';
import { EXECUTION_STATES } from '../core/executions/status.ts';
import { VERSION } from '../core/version.ts';
import { EXIT, type ExitCode } from './cli-error.ts';
import { deploy } from './commands/deploy.ts';
import { doctor, type DoctorOptions } from './commands/doctor.ts';
import { countExecutions, listExecutions } from './commands/executions.ts';
import { showHealth } from './commands/health.ts';
import { list } from './commands/list.ts';
import { showLogs } from './commands/logs.ts';
import { migrateDatabase } from './commands/migrate.ts';
import { resealStoredCredentials } from './commands/reseal.ts';
import { run } from './commands/run.ts';
import { undeploy } from './commands/undeploy.ts';
import { validate } from './commands/validate.ts';
import { OUTPUT_FORMATS } from './output.ts';
import { openSession, type GlobalOptions, type Io, type Session } from './session.ts';

/** The command line as a function of its arguments; it gives the exit code, or throws what ends the command. */
export function createProgram(io: Io): (args: readonly string[]) => Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.ok;
  const program = new Command('millrace')
    .description('Takes in webhooks and turns each into a durable workflow execution.')
    .version(VERSION)
    .addOption(
      new Option('-o, --output <format>', 'how data is printed')
        .choices([...OUTPUT_FORMATS])
        .default('table'),
    )
    .option(
      '--url <url>',
      'the API to talk to (default: MILLRACE_URL, else the platform that runs on MILLRACE_DATA_DIR)',
    )
    .option(
      '--api-key <key>',
      'the API key to send (default: MILLRACE_API_KEY; for the running platform its own)',
    )
    .showHelpAfterError('Run it with --help to see what it takes.')
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.write(text.trimEnd()),
      writeErr: (text) => io.say(text.trimEnd()),
    });
  const globals = (): GlobalOptions => program.opts<GlobalOptions & Record<string, unknown>>();

  /** A command that talks to the API. */
  const withSession =
    <A extends readonly unknown[]>(command: (session: Session, ...args: A) => Promise<ExitCode>) =>
    async (...args: A): Promise<void> => {
      exitCode = await command(await openSession(io, globals()), ...args);
    };

  program
    .command('dev')
    .description(
      'run the whole platform on this machine, with a PostgreSQL of its own unless DATABASE_URL is set',
    )
    .action(async () => {
      const { runDev } = await import('./dev.ts');
      exitCode = await runDev(io);
    });
  program
    .command('migrate')
    .description('bring the database of DATABASE_URL to the schema of this release')
    .action(async () => {
      exitCode = await migrateDatabase(io, globals());
    });
  program
    .command('reseal')
    .description('seal all stored credentials with the first key of ENCRYPTION_KEY, while keys are rotated')
    .action(async () => {
      exitCode = await resealStoredCredentials(io, globals());
    });
  program
    .command('doctor')
    .description(
      'check configuration, databases, clocks, sandboxes and the network, and say how to mend what is wrong',
    )
    .option('--apis <n>', 'how many APIs share the database’s connections', wholeNumber, 1)
    .option('--workers <n>', 'how many workers do', wholeNumber, 1)
    .option('--kubernetes', 'look into a cluster instead, with kubectl’s configuration')
    .option('--context <name>', 'of kubectl (default: the current one)')
    .option('-n, --namespace <name>', 'where Millrace is in the cluster (default: that of the context)')
    .action(async (options: DoctorOptions) => {
      exitCode = await doctor(io, globals(), options);
    });
  program
    .command('health')
    .description('ask the API and the worker of this machine, or container, whether they are ready')
    .action(async () => {
      exitCode = await showHealth(io, globals());
    });
  program
    .command('validate')
    .description('check workflows without deploying them')
    .argument('[files...]', 'workflow files, or folders with a workflow.yaml', ['workflow.yaml'])
    .action(withSession((session, files: readonly string[]) => validate(session, files)));
  program
    .command('deploy')
    .description('make workflows live; the same content again changes nothing')
    .argument('[files...]', 'workflow files, or folders with a workflow.yaml', ['workflow.yaml'])
    .action(withSession((session, files: readonly string[]) => deploy(session, files)));
  program
    .command('undeploy')
    .description('delete a workflow and cancel what has not ended; what has stays readable')
    .argument('<name>', 'name of the workflow')
    .option('--yes', 'do not ask')
    .action(
      withSession((session, name: string, options: { yes?: true }) => undeploy(session, name, options)),
    );
  program
    .command('list')
    .description('list the deployed workflows')
    .action(withSession((session) => list(session)));
  program
    .command('run')
    .description('start a workflow by hand and wait for its output')
    .argument('<name>', 'name of the workflow')
    .option(
      '--input <input>',
      'JSON, @file (@- is standard input), or key=value; the last may be repeated',
      collect,
      [],
    )
    .option(
      '--timeout <duration>',
      'how long to wait for the end, e.g. 30s; 0s only starts it',
      duration,
      60_000,
    )
    .action(
      withSession((session, name: string, options: { input: readonly string[]; timeout: number }) =>
        run(session, name, { input: options.input, timeoutMs: options.timeout }),
      ),
    );
  program
    .command('executions')
    .description('list executions, the newest first')
    .option('--workflow <name>', 'only those of this workflow')
    .addOption(new Option('--state <state>', 'only those in this state').choices([...EXECUTION_STATES]))
    .option('--limit <n>', 'how many', wholeNumber, 20)
    .addOption(
      new Option('--count-by <what>', 'count them instead').choices(['state']).conflicts(['state', 'limit']),
    )
    .action(
      withSession(
        (session, options: { workflow?: string; state?: string; limit: number; countBy?: 'state' }) =>
          options.countBy === undefined
            ? listExecutions(session, options)
            : countExecutions(session, options),
      ),
    );
  program
    .command('logs')
    .description('print the log of an execution, or of the newest executions of a workflow')
    .argument('<target>', 'id of an execution, or name of a workflow')
    .option('--tail <n>', 'how many lines from the end', wholeNumber, 100)
    .option('-f, --follow', 'go on with what is logged from now on')
    .action(
      withSession((session, target: string, options: { tail: number; follow?: true }) =>
        showLogs(session, target, { tail: options.tail, follow: options.follow === true }),
      ),
    );
  return async (args) => {
    await program.parseAsync([...args], { from: 'user' });
    return exitCode;
  };
}

const collect = (value: string, earlier: readonly string[]): readonly string[] => [...earlier, value];

function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('It must be a duration such as 500ms, 30s, 5m or 1h.');
  return ms;
}

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text))
    throw new InvalidArgumentError('It must be a whole number from 1 to 99999.');
  return Number(text);
}
