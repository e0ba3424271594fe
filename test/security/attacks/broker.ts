import assert from 'node:assert/strict';
import type { JsonObject } from '../../../src/core/json.ts';
import {
  checkAllDenied,
  javascript,
  outputObject,
  python,
  toText,
  type Attack,
  type Seen,
  type Surroundings,
} from './attack.ts';

/** Names of the attackers' own tenant: `service` is listed by their steps, `unlisted` is not; the other is not theirs. */
const keys: Attack['keys'] = () => ({ credentials: ['service'], timeout: '60s' });

/** What the broker refuses to a step that lists `service` alone. */
export const forbiddenTargets = (around: Surroundings): readonly string[] => [
  'unlisted:/path',
  'foreign-secret:/path',
  'Service:/path',
  'service :/path',
  `service:@127.0.0.1:${around.listenerPort}/`,
  `service:.127.0.0.1:${around.listenerPort}/`,
  `service::${around.listenerPort}/`,
  `service:${around.listenerPort}/`,
  `service:http://127.0.0.1:${around.listenerPort}/`,
  'service:/redirect-to-listener',
  'service:/redirect-to-metadata',
  'service:/redirect-to-file',
  'service:/redirect-forever',
  `http://127.0.0.1:${around.listenerPort}/`,
  '__proto__:/path',
  'constructor:/path',
  'toString:/path',
  '../service:/path',
  'service%3A/path',
];

const input: Attack['input'] = (around) => ({
  targets: forbiddenTargets(around),
  /** Below the service's origin, however odd; they may be answered by the service, and by nobody else. */
  own: [
    'service:/ok',
    `service://127.0.0.1:${around.listenerPort}/`,
    `service:/\\127.0.0.1:${around.listenerPort}/`,
    'service:/../../x',
    'service:/%2e%2e/%2f',
    'service:/a?authorization=1#x',
  ],
});

function check(seen: Seen): void {
  const { doors, own, secrets } = outputObject(seen.output) as Record<string, JsonObject>;
  checkAllDenied({ ...seen, output: doors ?? null });
  assert.equal(own?.['service:/ok'], '200');
  for (const [target, answer] of Object.entries(own ?? {})) {
    assert.doesNotMatch(toText(answer), /heard/, target);
  }
  assert.deepEqual(secrets, [null, null, null]);
}

/** X20: asking the broker for more than the step lists. */
export const BROKER_ATTACKS: readonly Attack[] = [
  {
    row: 'X20',
    language: 'javascript',
    name: 'only the listed credential is used, only for its origin, and never seen',
    source: javascript(String.raw`
for (const target of input.targets) await door(target, async () => (await ctx.fetch(target)).text(), 8000);
const own = {};
for (const target of input.own) {
  try { const response = await ctx.fetch(target); own[target] = String(response.status); if ((await response.text()).includes('heard')) own[target] = 'heard'; }
  catch (error) { own[target] = error.code ?? error.name; }
}
// The service tells what it was sent; what the broker added is masked.
const echo = await ctx.fetch('service:/echo', { headers: { authorization: 'Bearer mine', cookie: 'a=b', 'x-test': 'y' } });
const told = await echo.text();
await ctx.fetch('service:/told', { method: 'POST', body: told + JSON.stringify([...echo.headers]) + btoa(told) });
console.log(told);
const secret = (name) => { try { return ctx.secrets[name] ?? null; } catch { return null; } };
return { doors, own, secrets: ['foreign-secret', 'service', 'unlisted'].map(secret), told };
`),
    keys,
    input,
    ends: ['succeeded'],
    check,
    withinMs: 60_000,
  },
  {
    row: 'X20',
    language: 'python',
    name: 'only the listed credential is used, only for its origin, and never seen',
    source: python(String.raw`
import base64
for target in input["targets"]: door(target, lambda: ctx.fetch(target).text())
own = {}
for target in input["own"]:
    try:
        response = ctx.fetch(target)
        own[target] = "heard" if "heard" in response.text() else str(response.status)
    except Exception as error: own[target] = getattr(error, "code", type(error).__name__)
echo = ctx.fetch("service:/echo", headers={"authorization": "Bearer mine", "cookie": "a=b", "x-test": "y"})
told = echo.text()
ctx.fetch("service:/told", method="POST", body=told + repr(echo.headers) + base64.b64encode(told.encode()).decode())
print(told)
def secret(name):
    try: return ctx.secrets[name]
    except Exception: return None
return {"doors": doors, "own": own, "secrets": [secret(name) for name in ("foreign-secret", "service", "unlisted")], "told": told}
`),
    keys,
    input,
    ends: ['succeeded'],
    check,
    withinMs: 60_000,
  },
];

/**
 * Goes on calling `input.url` when its step has ended; whatever comes there came too late. With `{mode: "stay"}` the step
 * itself goes on for a while, so that its calls do come.
 */
export interface LateCaller extends Pick<Attack, 'language' | 'name' | 'source'> {
  readonly ends: Attack['ends'];
}

export const LATE_CALLERS: readonly LateCaller[] = [
  {
    language: 'javascript',
    name: 'timers and promises that go on fetch nothing after the end',
    source: javascript(String.raw`
if (input.mode === 'look') { await new Promise((resolve) => setTimeout(resolve, 800)); return 'looked'; }
const call = () => { try { ctx.fetch(input.url).catch(() => {}); } catch {} };
const again = () => { call(); setTimeout(again, 20); };
setTimeout(again, 100);
setInterval(call, 50);
Promise.resolve().then(() => new Promise((resolve) => setTimeout(resolve, 150))).then(call);
globalThis.keptFetch = ctx.fetch;
if (input.mode === 'stay') await new Promise((resolve) => setTimeout(resolve, 800));
return 'left';
`),
    ends: ['succeeded', 'code_error'],
  },
  {
    language: 'python',
    name: 'threads and children that go on fetch nothing after the end',
    source: python(String.raw`
if input["mode"] == "look":
    time.sleep(0.8)
    return "looked"
def again():
    time.sleep(0.1)
    while True:
        try: ctx.fetch(input["url"])
        except BaseException: pass
        time.sleep(0.02)
threading.Thread(target=again, daemon=True).start()
if os.fork() == 0:
    try: os.setsid()
    except OSError: pass
    again()
if input["mode"] == "stay": time.sleep(0.8)
return "left"
`),
    ends: ['succeeded', 'code_error'],
  },
];
