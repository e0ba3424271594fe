import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestRunner, type TestRunner } from './runner.fixture.ts';

let runner: TestRunner;
beforeAll(async () => {
  runner = await startTestRunner();
});
afterAll(() => runner.stop());

const evaluate = async (expression: string): Promise<unknown> => {
  const end = await runner.run(`module.exports.default = async (ctx) => (${expression});`);
  if (end.type === 'failed') throw new Error(`${end.failure}: ${JSON.stringify(end.detail)}`);
  expect(end.slotReplaced).toBe(false);
  return end.output;
};

const c = `require('node:crypto')`;
const s = `require('node:stream')`;
const z = `require('node:zlib')`;
const u = `require('node:util')`;
const key = 'Buffer.alloc(16)';

describe('what bundles may count on', () => {
  it.each<[string, unknown]>([
    [`${c}.createHash('sha256').update('a').digest('hex').slice(0, 8)`, 'ca978112'],
    [`${c}.createHash('md5').update('a').copy().digest('base64')`, 'DMF1ucDxtqgxw5niaXcmYQ=='],
    [`${c}.createHmac('sha512', 'k').update('a').digest('hex').slice(0, 8)`, '82e0c15e'],
    [`${c}.createHash('sha1').end('a').read().toString('hex').slice(0, 8)`, '86f7e437'],
    [
      `(() => { const x = ${c}.createCipheriv('aes-128-cbc', ${key}, ${key}); return x.update('a', 'utf8', 'hex') + x.final('hex') })()`,
      expect.stringMatching(/^[\da-f]{32}$/),
    ],
    [
      `(() => { const k = ${c}.generateKeyPairSync('ec', { namedCurve: 'P-256' }); const m = ${c}.sign('sha256', Buffer.from('a'), k.privateKey); return ${c}.verify('sha256', Buffer.from('a'), k.publicKey, m) })()`,
      true,
    ],
    [`${c}.pbkdf2Sync('a', 'b', 1, 8, 'sha256').length`, 8],
    [`${c}.scryptSync('a', 'b', 8).length`, 8],
    [`await ${u}.promisify(${c}.randomBytes)(4).then((b) => b.length)`, 4],
    [`await ${u}.promisify(${c}.pbkdf2)('a', 'b', 1, 8, 'sha256').then((b) => b.length)`, 8],
    [`${c}.timingSafeEqual(Buffer.from('a'), Buffer.from('a'))`, true],
    [`${c}.randomUUID().length + ${c}.randomInt(1)`, 36],
    [`${c}.webcrypto === crypto && crypto.randomUUID().length`, 36],
    [
      `Buffer.from(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('a'))).toString('hex').slice(0, 8)`,
      'ca978112',
    ],
    [
      `(await crypto.subtle.generateKey({ name: 'AES-GCM', length: 128 }, true, ['encrypt'])) instanceof CryptoKey`,
      true,
    ],
    [`${z}.gunzipSync(${z}.gzipSync('abc')).toString()`, 'abc'],
    [`(await ${u}.promisify(${z}.inflate)(${z}.deflateSync('abc'))).toString()`, 'abc'],
    [`${z}.brotliDecompressSync(${z}.brotliCompressSync('abc')).toString()`, 'abc'],
    [
      `await ${s}.promises.pipeline(${s}.Readable.from(['a', 'b']), ${z}.createGzip(), ${z}.createGunzip(), async (parts) => { let t = ''; for await (const p of parts) t += p; return t })`,
      'ab',
    ],
    [
      `await new Response(new Blob(['abc']).stream().pipeThrough(new CompressionStream('gzip')).pipeThrough(new DecompressionStream('gzip'))).text()`,
      'abc',
    ],
    [`await require('stream/consumers').text(${s}.Readable.from(['a', 'b']))`, 'ab'],
    [`await new Response(${s}.Readable.toWeb(${s}.Readable.from([Buffer.from('ab')]))).text()`, 'ab'],
    [
      `(() => { class Upper extends ${s}.Transform { _transform(c, e, d) { d(null, String(c).toUpperCase()) } } const t = new Upper(); t.end('a'); return t.read().toString() })()`,
      'A',
    ],
    [
      `(() => { const E = require('events'); function Old() { E.call(this) } ${u}.inherits(Old, E); Old.prototype.on = function () { return 'mine' }; return new Old().on() })()`,
      'mine',
    ],
    [`(() => { const e = new (require('events'))(); e.emit = () => 'own'; return e.emit() })()`, 'own'],
    [
      `await require('events').once(Object.assign(new (require('events'))(), { x: setTimeout(() => {}, 1) }), 'y', { signal: AbortSignal.timeout(5) }).catch((e) => e.name)`,
      'AbortError',
    ],
    [`${u}.inspect({ a: [new Map([[1, new Error('x').message]])] })`, "{ a: [ Map(1) { 1 => 'x' } ] }"],
    [`${u}.format('%s %d %j', 'a', 1, { b: 2 })`, 'a 1 {"b":2}'],
    [`${u}.types.isDate(new Date()) && ${u}.isDeepStrictEqual({ a: [1] }, { a: [1] })`, true],
    [`${u}.promisify(setTimeout)(1, 'later')`, 'later'],
    [`${u}.debuglog('x').enabled`, false],
    [
      `(() => { try { require('assert').deepStrictEqual({ a: 1 }, { a: 2 }) } catch (e) { return e.code } })()`,
      'ERR_ASSERTION',
    ],
    [`require('path').join('/a', '..', 'b') + require('path').win32.sep`, '/b\\'],
    [`require('querystring').parse('a=1&a=2').a`, ['1', '2']],
    [
      `require('url').parse('http://h:1/p?q=1').port + new (require('url').URL)('http://h/x').pathname`,
      '1/x',
    ],
    [`new (require('string_decoder').StringDecoder)('utf8').write(Buffer.from('é'))`, 'é'],
    [`require('os').platform() + require('os').EOL`, 'linux\n'],
    [`require('process') === process && Object.keys(process.env).length`, 0],
    [`new (require('async_hooks').AsyncLocalStorage)().run(7, async () => { await 0; return 8 })`, 8],
    [
      `(() => { const l = new (require('async_hooks').AsyncLocalStorage)(); return l.run(7, () => new Promise((r) => setTimeout(() => r(l.getStore()), 1))) })()`,
      7,
    ],
    [`require('diagnostics_channel').channel('x').hasSubscribers`, false],
    [`typeof require('perf_hooks').performance.now()`, 'number'],
    [`await require('timers/promises').setTimeout(1, 'v')`, 'v'],
    [
      `typeof require('http').Agent + new (require('https').Agent)({ keepAlive: true }).options.keepAlive`,
      'functiontrue',
    ],
    [`require('net').isIP('::1') + require('net').isIP('1.2.3.4') + require('net').isIP('x')`, 10],
    [`(class extends require('http').Server {}).name`, ''],
    [
      `Buffer.from('aé').toString('base64') + Buffer.concat([Buffer.from('x')]).equals(Buffer.from('x'))`,
      'YcOptrue',
    ],
    [`Buffer.from([1, 2]) instanceof Uint8Array && new TextEncoder().encode('') instanceof Uint8Array`, true],
    [`structuredClone({ a: new Map([[1, [new Date(0)]]]) }).a.get(1)[0] instanceof Date`, true],
    [
      `Object.getPrototypeOf(structuredClone({})) === Object.prototype && structuredClone([]) instanceof Array`,
      true,
    ],
    [
      `(() => { try { new URL('x') } catch (e) { return e instanceof TypeError && e instanceof Error && !(e instanceof RangeError) } })()`,
      true,
    ],
    [
      `(() => { class Mine extends Error {} return [new Mine() instanceof Error, new Error() instanceof Mine, new URL('a:b') instanceof Object] })()`,
      [true, false, true],
    ],
    [`new Headers([['a', 'b']]).get('A') + [...new URLSearchParams('x=1')].flat().join()`, 'bx,1'],
    [
      `await (async () => { const f = new FormData(); f.append('a', new File(['x'], 'n.txt')); const t = await new Response(f).text(); return /filename="n.txt"/.test(t) })()`,
      true,
    ],
    [
      `await new Promise((resolve) => { const { port1, port2 } = new MessageChannel(); port2.onmessage = (e) => { port2.close(); resolve(e.data) }; port1.postMessage('m') })`,
      'm',
    ],
    [
      `(() => { const t = new EventTarget(); let n = 0; t.addEventListener('x', () => n++); t.dispatchEvent(new Event('x')); return n })()`,
      1,
    ],
    [
      `(() => { const a = new AbortController(); a.abort(); return [a.signal.aborted, a.signal.reason.name] })()`,
      [true, 'AbortError'],
    ],
    [`AbortSignal.any([AbortSignal.abort('r')]).reason`, 'r'],
    [
      `WebAssembly.instantiate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then((w) => w.instance instanceof WebAssembly.Instance)`,
      true,
    ],
    [`new Function('a', 'return a + 1')(1)`, 2],
    [
      `[typeof window, typeof document, typeof Deno, typeof navigator.userAgent]`,
      ['undefined', 'undefined', 'undefined', 'string'],
    ],
    [`atob(btoa('x')) + typeof global.setTimeout + (globalThis === self)`, 'xfunctiontrue'],
    [
      `(() => { const t = setTimeout(() => {}, 5); t.unref().ref().refresh(); clearTimeout(t); clearTimeout(+t); clearInterval(undefined); return t.hasRef() })()`,
      false,
    ],
    [
      `(() => { const d = new DOMParser().parseFromString('<?xml version="1.0"?><a x="1&amp;2"><b>t&#233;</b><c/><![CDATA[<]]></a>', 'text/xml').documentElement; return [d.nodeName, d.getAttribute('x'), d.childNodes.map((n) => n.nodeName + n.textContent)] })()`,
      ['a', '1&2', ['bté', 'c', '#text<']],
    ],
    [
      `['<a>', '<a></b>', 'x', '', '<a b=c/>'].map((t) => new DOMParser().parseFromString(t, 'text/xml').getElementsByTagName('parsererror').length)`,
      [1, 1, 1, 1, 1],
    ],
    [`performance.mark('a').name + performance.getEntries().length`, 'a1'],
  ])('%s', async (expression, expected) => {
    expect(await evaluate(expression)).toEqual(expected);
  });

  it.each([
    ["require('node:fs').readFileSync('/etc/passwd')", '`readFileSync` of node:fs is not there'],
    ["require('fs').promises.readFile('/etc/passwd')", '`promises.readFile` of node:fs is not there'],
    ["require('child_process').spawn('sh')", 'it starts no processes'],
    ["require('http').createServer()", 'Use `ctx.fetch`'],
    ["require('http2').connect('https://example.com')", 'Use `ctx.fetch`'],
    ["new (require('net').Socket)()", 'Use `ctx.fetch`'],
    ["require('worker_threads').Worker.x.y()", 'it starts no processes'],
    ["require('vm').runInThisContext('1')", 'node:vm'],
    ["require('left-pad')", '`left-pad` cannot be imported. It is neither'],
    ["require('./other')", 'Files are bundled when the workflow is deployed'],
    ["require('ext:core')", 'cannot be imported'],
  ])('refuses %s and says why', async (expression, message) => {
    const end = await runner.run(`module.exports.default = async () => ${expression};`);
    expect(end).toMatchObject({ type: 'failed', failure: 'unresolved_import' });
    expect(end.type === 'failed' && end.detail.message).toContain(message);
  });
});
