import assert from 'node:assert/strict';
import {
  checkAllDenied,
  javascript,
  JAVASCRIPT_DENIAL,
  outputObject,
  python,
  toText,
  type Attack,
  type Surroundings,
} from './attack.ts';

export const targets = (around: Surroundings) => ({
  port: around.listenerPort,
  addresses: ['127.0.0.1', ...around.hostAddresses],
  ports: [around.listenerPort, around.postgresPort, around.redisPort, 22, 53, 80, 443, 6443, 10250],
});

/** Doors of Deno to a network; `given` has `addresses`, `port`, `ports` and `url`. */
export const NETWORK_DOORS = String.raw`${JAVASCRIPT_DENIAL}
const doors = {};
const door = async (name, work) => {
  try { const late = new Promise((resolve) => setTimeout(resolve, 1900)); const value = await Promise.race([(async () => work())(), late]); doors[name] = value === undefined || value === null ? 'denied: nothing came' : 'got: ' + String(value); }
  catch (error) { doors[name] = denialOf(error); }
};
const module = async (name) => globalThis.process?.getBuiltinModule?.(name) ?? import(name);
for (const hostname of given.addresses) {
  for (const port of given.ports) await door('connect ' + hostname + ' ' + port, async () => { await Deno.connect({ hostname, port }); return 'connected'; });
  await door('datagram ' + hostname, async () => { const socket = Deno.listenDatagram({ port: 0, transport: 'udp', hostname: '0.0.0.0' }); await socket.send(new Uint8Array(5), { transport: 'udp', hostname, port: given.port }); return 'sent'; });
  await door('net ' + hostname, async () => { const { connect } = await module('node:net'); return new Promise((resolve, reject) => connect(given.port, hostname, () => resolve('connected')).on('error', reject)); });
  await door('dgram ' + hostname, async () => { const { createSocket } = await module('node:dgram'); const socket = createSocket('udp4'); return new Promise((resolve, reject) => { socket.on('error', reject); socket.send('x', given.port, hostname, (error) => (error ? reject(error) : resolve('sent'))); }); });
}
await door('outer fetch', async () => (await fetch(given.url)).status);
await door('outer WebSocket', () => new Promise((resolve, reject) => { const socket = new WebSocket(given.url.replace('http', 'ws')); socket.onopen = () => resolve('open'); socket.onerror = (event) => reject(new Error(event.message)); }));
await door('EventSource', () => new Promise((resolve, reject) => { const source = new EventSource(given.url); source.onopen = () => resolve('open'); source.onerror = () => reject(new Error('refused')); }));
await door('tls', async () => { await Deno.connectTls({ hostname: given.addresses[0], port: given.port }); return 'connected'; });
await door('resolveDns', async () => (await Deno.resolveDns('example.com', 'A')).join());
await door('dns', async () => { const { resolve4 } = await module('node:dns'); return new Promise((resolve, reject) => resolve4('example.com', (error, found) => (error ? reject(error) : resolve(found)))); });
await door('listen', () => { Deno.listen({ port: 0 }); return 'listening'; });
await door('serve', async () => { const { createServer } = await module('node:http'); return new Promise((resolve, reject) => createServer().on('error', reject).listen(0, () => resolve('listening'))); });
await door('remote import', async () => Object.keys(await import(given.url)));
await door('npm import', async () => Object.keys(await import('npm:is-odd')));
await door('jsr import', async () => Object.keys(await import('jsr:@std/path')));
await door('openKv', async () => { await Deno.openKv(given.url); return 'open'; });
await door('http client', () => { Deno.createHttpClient({ proxy: { url: given.url } }); return undefined; });
return doors;
`;

/** X11: no network but the broker. */
export const NETWORK_ATTACKS: readonly Attack[] = [
  {
    row: 'X11',
    language: 'python',
    name: 'TCP, UDP, ICMP, DNS and IPv6 all fail at once',
    source: python(String.raw`
slow = {}
def timed(name, work):
    since = time.monotonic()
    door(name, work)
    took = time.monotonic() - since
    if took > 2: slow[name] = took
def tcp(family, address, port):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1.5)
        client.connect((address, port))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return "connected"
def udp(family, address, port):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        client.sendto(b"hello", (address, port))
        if address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            client.recvfrom(100)  # loopback of the sandbox itself takes it, and nobody answers
        return "sent"
for address in input["addresses"]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in input["ports"]:
        timed("tcp %s %d" % (address, port), lambda: tcp(family, address, port))
    timed("udp " + address, lambda: udp(family, address, input["port"]))
for address in ["1.1.1.1", "8.8.8.8", "169.254.169.254", "10.96.0.1", "172.17.0.1", "192.168.0.1", "255.255.255.255", "224.0.0.1"]:
    timed("tcp " + address, lambda: tcp(socket.AF_INET, address, 53))
    timed("udp " + address, lambda: udp(socket.AF_INET, address, 53))
for address in ["::1", "2606:4700:4700::1111", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "ff02::1"]:
    timed("tcp " + address, lambda: tcp(socket.AF_INET6, address, input["port"]))
    timed("udp " + address, lambda: udp(socket.AF_INET6, address, input["port"]))
for name in ["example.com", "kubernetes.default.svc", "metadata.google.internal", "host.docker.internal", "canary.test"]:
    timed("name " + name, lambda: socket.getaddrinfo(name, 80))
for kind in [socket.SOCK_RAW, socket.SOCK_DGRAM]:
    def ping():
        with socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP) as client:
            client.settimeout(0.5)
            client.sendto(b"\x08\x00\xf7\xff\x00\x00\x00\x00", ("8.8.8.8", 0))
            return client.recv(100)
    timed("icmp %d" % kind, ping)
def interfaces():
    return [name for _, name in socket.if_nameindex() if name != "lo"] or None
timed("interfaces", interfaces)
timed("routes", lambda: "\n".join(line for line in read("/proc/net/route").splitlines()[1:] if "lo" not in line) or None)
timed("http", lambda: __import__("urllib.request").request.urlopen("http://" + input["addresses"][0] + ":%d/" % input["port"], timeout=1.5).read())
doors["slow"] = "denied: none" if not slow else "got: " + repr(slow)
return doors
`),
    input: targets,
    keys: () => ({ timeout: '120s' }),
    ends: ['succeeded'],
    check: checkAllDenied,
    withinMs: 60_000,
  },
  {
    row: 'X11',
    language: 'javascript',
    name: 'nothing of the language and its libraries reaches a network, inside the context or outside of it',
    source: javascript(
      String.raw`
const url = 'http://' + input.addresses.at(-1).replace(/^(.*:.*)$/, '[$1]') + ':' + input.port + '/';
for (const name of ['fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource', 'WebTransport', 'BroadcastChannel']) {
  await door(name, () => new Promise((resolve, reject) => {
    const Thing = globalThis[name];
    if (Thing === undefined) { resolve(undefined); return; }
    if (name === 'fetch') { fetch(url).then((r) => resolve(r.status), reject); return; }
    if (name === 'BroadcastChannel') { resolve(undefined); return; }
    const thing = new Thing(name === 'WebSocket' ? url.replace('http', 'ws') : url);
    thing.onopen = () => resolve('open'); thing.onmessage = () => resolve('message'); thing.onerror = () => resolve(undefined);
    if (thing.open) { thing.open('GET', url); thing.onload = () => resolve('loaded'); thing.send(); }
  }));
}
for (const name of ['node:net', 'node:http', 'node:https', 'node:dns', 'node:dgram', 'node:tls', 'node:http2']) {
  await door(name, async () => {
    const found = await new Function('name', 'return import(name)')(name);
    return found.lookup ? new Promise((resolve, reject) => found.lookup('example.com', (error, address) => (error ? reject(error) : resolve(address)))) : found.connect ? 'there' : undefined;
  });
}
Object.assign(doors, (await outside(ctx, input.text, { ...input, url })) ?? {});
return doors;
`,
    ),
    input: (around) => ({
      ...targets(around),
      text: NETWORK_DOORS,
    }),
    keys: () => ({ timeout: '300s' }),
    ends: ['succeeded'],
    check: checkAllDenied,
    withinMs: 120_000,
  },
];

/** Ways to write the address of a service of the host. */
const spellings = (port: number): readonly string[] => [
  `http://127.0.0.1:${port}/`,
  `http://localhost:${port}/`,
  `http://LOCALHOST.:${port}/`,
  `http://2130706433:${port}/`,
  `http://0x7f000001:${port}/`,
  `http://0x7f.0.0.1:${port}/`,
  `http://0177.0.0.1:${port}/`,
  `http://017700000001:${port}/`,
  `http://127.1:${port}/`,
  `http://127.0.1:${port}/`,
  `http://127.0.0.1.:${port}/`,
  `http://１２７.０.０.１:${port}/`,
  `http://①②⑦.⓪.⓪.①:${port}/`,
  `http://127。0。0。1:${port}/`,
  `http://%31%32%37.0.0.1:${port}/`,
  `http://0.0.0.0:${port}/`,
  `http://0:${port}/`,
  `http://[::1]:${port}/`,
  `http://[::]:${port}/`,
  `http://[::ffff:127.0.0.1]:${port}/`,
  `http://[::ffff:7f00:1]:${port}/`,
  `http://[0:0:0:0:0:ffff:7f00:0001]:${port}/`,
  `http://[64:ff9b::7f00:1]:${port}/`,
  `http://[2002:7f00:1::]:${port}/`,
  `http://user:pass@127.0.0.1:${port}/`,
  `http://example.com@127.0.0.1:${port}/`,
  `http://example.com\\@127.0.0.1:${port}/`,
  `http:\\\\127.0.0.1:${port}/`,
  `http:127.0.0.1:${port}/`,
  `http:///127.0.0.1:${port}/`,
  `HtTp://127.0.0.1:${port}/`,
  `http://127.0.0.1:${port}#@example.com/`,
  `http://127.0.0.1\t:${port}/`,
  `\u0000http://127.0.0.1:${port}/`,
  `//127.0.0.1:${port}/`,
];

const forbidden: Attack['input'] = (around) => ({
  targets: [
    ...spellings(around.listenerPort),
    ...spellings(around.redisPort).slice(0, 4),
    ...spellings(around.postgresPort).slice(0, 4),
    ...around.hostAddresses.map(
      (address) => `http://${address.includes(':') ? `[${address}]` : address}:${around.listenerPort}/`,
    ),
    ...around.hostAddresses.map(
      (address) => `https://${address.includes(':') ? `[${address}]` : address}:10250/pods`,
    ),
    'https://10.96.0.1/api/v1/secrets',
    'https://10.0.0.1:6443/api',
    'http://169.254.169.254/latest/meta-data/iam/security-credentials/',
    'http://[fd00:ec2::254]/latest/meta-data/',
    'http://[fe80::1]/',
    'http://168.63.129.16/metadata',
    'http://100.100.100.200/latest/meta-data',
    'http://192.0.0.192/opc/v2/instance',
    'http://2852039166/latest/meta-data/',
    'http://0xA9FEA9FE/',
    'http://169.254.169.254.nip.io/',
    'http://metadata.google.internal/computeMetadata/v1/',
    'http://172.17.0.1:2375/containers/json',
    'ftp://127.0.0.1/',
    'file:///etc/passwd',
    'gopher://127.0.0.1:6379/_FLUSHALL',
    'dict://127.0.0.1:6379/info',
    'redis://127.0.0.1:6379',
    'ws://127.0.0.1:6379',
    'unix:///var/run/docker.sock',
    'data:text/plain,hello',
    'blob:null/x',
    'javascript:1',
    'about:blank',
    '',
    'nonsense',
    `${around.sinkUrl}/redirect-to-listener`,
    `${around.sinkUrl}/redirect-to-metadata`,
    `${around.sinkUrl}/redirect-to-file`,
    `${around.sinkUrl}/redirect-forever`,
  ],
});

/** Every host that the attacks name is allowed by the step: what refuses is the guard of addresses. */
const egress: Attack['keys'] = (around) => ({
  timeout: '120s',
  egress: [
    `127.0.0.1:${around.listenerPort}`,
    `localhost:${around.listenerPort}`,
    `127.0.0.1:${around.postgresPort}`,
    `127.0.0.1:${around.redisPort}`,
    `localhost:${around.redisPort}`,
    around.sinkHost,
    '169.254.169.254',
    '10.96.0.1',
    'metadata.google.internal',
    ...around.hostAddresses
      .filter((address) => !address.includes(':'))
      .map((address) => `${address}:${around.listenerPort}`),
  ],
});

const isRefused: Attack['check'] = (seen) => {
  checkAllDenied(seen);
  const answers = Object.entries(outputObject(seen.output));
  for (const [target, answer] of answers) {
    assert.doesNotMatch(toText(answer), /ECONNREFUSED|internal_error|inside the platform/, target);
  }
};

/** X12: what `ctx.fetch` must not reach. */
export const FETCH_ATTACKS: readonly Attack[] = [
  {
    row: 'X12',
    language: 'javascript',
    name: 'the broker refuses Redis, PostgreSQL, Kubernetes, metadata and redirects to them, however they are spelt',
    source: javascript(
      'for (const target of input.targets) await door(target, async () => { const response = await ctx.fetch(target); return response.status + " " + (await response.text()).slice(0, 100); }, 8000);\nreturn doors;',
    ),
    keys: egress,
    input: forbidden,
    ends: ['succeeded'],
    check: isRefused,
    withinMs: 100_000,
  },
  {
    row: 'X12',
    language: 'python',
    name: 'the broker refuses Redis, PostgreSQL, Kubernetes, metadata and redirects to them, however they are spelt',
    source: python(String.raw`
for target in input["targets"]:
    def ask():
        response = ctx.fetch(target)
        return "%s %r" % (response.status, response.text()[:100] if callable(response.text) else response.text[:100])
    door(target, ask)
return doors
`),
    keys: egress,
    input: forbidden,
    ends: ['succeeded'],
    check: isRefused,
    withinMs: 100_000,
  },
  {
    row: 'X12',
    language: 'javascript',
    name: 'a step without egress reaches no host at all, with odd methods, headers and bodies neither',
    source: javascript(String.raw`
for (const [index, init] of [{}, { method: 'CONNECT' }, { method: 'TRACE' }, { method: 'GET / HTTP/1.1\r\nx: y\r\n\r\n' }, { headers: { host: '127.0.0.1', 'x-forwarded-host': 'x', 'proxy-authorization': 'x' } },
  { headers: { 'x\r\ny': 'z' } }, { headers: [['transfer-encoding', 'chunked'], ['content-length', '3']] , method: 'POST', body: 'abc' }, { method: 'POST', body: new Uint8Array(20 << 20) }, { dispatcher: {}, agent: {}, redirect: 'manual' }].entries()) {
  for (const target of [input.sink, 'https://example.com/', 'no-such-credential:/path']) {
    await door(target + ' ' + index, async () => (await ctx.fetch(target, init)).status, 8000);
  }
}
return doors;
`),
    input: ({ sinkUrl }) => ({ sink: `${sinkUrl}/unlisted` }),
    keys: () => ({ timeout: '60s' }),
    ends: ['succeeded'],
    check: checkAllDenied,
  },
  {
    row: 'X12',
    language: 'python',
    name: 'a step without egress reaches no host at all, with odd methods, headers and bodies neither',
    source: python(String.raw`
for index, options in enumerate([{}, {"method": "CONNECT"}, {"method": "TRACE"}, {"method": "GET / HTTP/1.1\r\nx: y\r\n\r\n"}, {"headers": {"host": "127.0.0.1", "proxy-authorization": "x"}},
                {"headers": {"x\r\ny": "z"}}, {"method": "POST", "body": b"x" * (20 << 20)}]):
    for target in [input["sink"], "https://example.com/", "no-such-credential:/path"]:
        door(target + " %d" % index, lambda: ctx.fetch(target, **options).status)
return doors
`),
    input: ({ sinkUrl }) => ({ sink: `${sinkUrl}/unlisted` }),
    keys: () => ({ timeout: '60s' }),
    ends: ['succeeded'],
    check: checkAllDenied,
  },
];
