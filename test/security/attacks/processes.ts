import assert from 'node:assert/strict';
import { checkAllDenied, javascript, JAVASCRIPT_DENIAL, python, type Attack } from './attack.ts';

/** Ways of the realm outside of the context to signal others and to start processes; itself it may kill. */
export const SIGNAL_DOORS = String.raw`${JAVASCRIPT_DENIAL}
const doors = {};
for (const [name, work] of Object.entries({
  all: () => Deno.kill(-1, 'SIGKILL'), other: () => Deno.kill(2, 'SIGKILL'), node: () => process.kill(-1, 'SIGKILL'),
  spawn: () => new Deno.Command('/usr/bin/deno').spawn(), fork: () => process.getBuiltinModule('node:child_process').spawn('/usr/bin/deno').pid,
})) {
  try { doors[name] = 'got: ' + work(); } catch (error) { doors[name] = denialOf(error); }
}
return doors;
`;

/** X17: killing what is around, and staying behind. */
export const PROCESS_ATTACKS: readonly Attack[] = [
  {
    row: 'X17',
    language: 'python',
    name: 'kill(-1) reaches its own sandbox at most',
    source: python(String.raw`
for number in (signal.SIGTERM, signal.SIGKILL):
    try: os.kill(-1, number)
    except OSError: pass
time.sleep(0.5)
return "alive"
`),
    keys: () => ({ timeout: '10s' }),
    ends: ['succeeded', 'resource_limit', 'sandbox_lost', 'code_error'],
    withinMs: 30_000,
  },
  {
    row: 'X17',
    language: 'python',
    name: 'killing process groups and every number reaches its own sandbox at most',
    source: python(String.raw`
own = {os.getpid(), os.getppid()}
for pid in list(range(2, 5000)) + [-pid for pid in range(2, 5000)]:
    if abs(pid) in own: continue
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
time.sleep(0.5)
return "alive"
`),
    keys: () => ({ timeout: '20s' }),
    ends: ['succeeded', 'resource_limit', 'sandbox_lost', 'code_error'],
    withinMs: 40_000,
  },
  {
    row: 'X17',
    language: 'python',
    name: 'daemons by double fork are gone afterwards',
    source: python(String.raw`
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in signal.valid_signals():
                try: signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError): pass
            for descriptor in range(256):
                try: os.close(descriptor)
                except OSError: pass
            while True:
                if os.fork() == 0: continue
                time.sleep(0.2)
                os._exit(0)
        os._exit(0)
return "daemons"
`),
    keys: () => ({ timeout: '20s' }),
    ends: ['succeeded', 'resource_limit', 'sandbox_lost'],
    withinMs: 30_000,
  },
  {
    row: 'X17',
    language: 'python',
    name: 'a step that waits for its daemons’ pipes ends with the step',
    source: python(String.raw`
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: time.sleep(1)"], stdout=sys.stdout, stderr=sys.stderr, start_new_session=True)
return child.pid > 0
`),
    ends: ['succeeded'],
    withinMs: 15_000,
  },
  {
    row: 'X17',
    language: 'javascript',
    name: 'nothing can be signalled, inside the context or outside',
    source: javascript(String.raw`
await door('process.kill', () => { process.kill(-1, 'SIGKILL'); return 'signalled'; });
Object.assign(doors, (await outside(ctx, input.text)) ?? {});
return doors;
`),
    input: () => ({ text: SIGNAL_DOORS }),
    keys: () => ({ timeout: '10s' }),
    ends: ['succeeded', 'resource_limit', 'sandbox_lost', 'code_error'],
    check: (seen) => {
      if (seen.state !== 'succeeded') return;
      checkAllDenied(seen);
      assert.ok(Object.keys(seen.output as object).includes('process.kill'));
    },
    withinMs: 30_000,
  },
];
