import assert from 'node:assert/strict';
import { release } from 'node:os';
import {
  checkAllDenied,
  javascript,
  JAVASCRIPT_DENIAL,
  outputObject,
  python,
  toText,
  type Attack,
} from './attack.ts';

const files: Attack['input'] = ({ files }) => ({ files });

/** Doors of Deno that lead out of a process; `Deno` and `process` are those of the realm outside of the context. */
export const HOST_DOORS = String.raw`${JAVASCRIPT_DENIAL}
const { Deno, process } = globalThis;
const doors = {};
const door = async (name, work) => {
  try {
    const late = new Promise((resolve) => setTimeout(resolve, 1500));
    const value = await Promise.race([(async () => work())(), late]);
    doors[name] = value === undefined || value === null ? 'denied: nothing came' : 'got: ' + String(value instanceof Uint8Array ? new TextDecoder().decode(value) : value).slice(0, 500);
  } catch (error) { doors[name] = denialOf(error); }
};
const module = async (name) => (process && process.getBuiltinModule ? process.getBuiltinModule(name) : undefined) ?? (await import(name));
const paths = [...given.files, '/etc/shadow', '/proc/self/environ', '/proc/1/environ', '/proc/self/maps', '/proc/self/mem',
  '/proc/version', '/proc/kmsg', '/proc/self/root/etc/passwd', '/var/run/secrets/kubernetes.io/serviceaccount/token', '/run/secrets',
  '/var/run/docker.sock', '/run/containerd/containerd.sock', '/dev/mem', '/dev/kvm', '/dev/sda', '/runner/javascript.mjs'];
for (const path of paths) {
  await door('read ' + path, () => Deno.readFile(path));
  await door('open ' + path, async () => (await Deno.open(path)).constructor.name);
}
await door('readDir /', async () => { for await (const entry of Deno.readDir('/')) return entry.name; });
await door('write /tmp', async () => { await Deno.writeTextFile('/tmp/left', 'x'); return 'written'; });
await door('makeTempFile', () => Deno.makeTempFile());
await door('symlink', async () => { await Deno.symlink('/etc', '/tmp/etc'); return 'linked'; });
await door('env', () => JSON.stringify(Deno.env.toObject()));
await door('Command', async () => new TextDecoder().decode((await new Deno.Command('/usr/bin/deno', { args: ['--version'] }).output()).stdout));
await door('dlopen', () => Deno.dlopen('/lib/x86_64-linux-gnu/libc.so.6', {}));
await door('Deno.kill', () => { Deno.kill(2, 'SIGCONT'); return 'signalled'; });
await door('osRelease', () => Deno.osRelease());
await door('systemMemoryInfo', () => JSON.stringify(Deno.systemMemoryInfo()));
await door('networkInterfaces', () => JSON.stringify(Deno.networkInterfaces()));
await door('hostname', () => Deno.hostname());
await door('uid', () => Deno.uid());
await door('permission request', async () => (await Deno.permissions.request({ name: 'read' })).state === 'granted' ? 'granted' : undefined);
await door('a worker', () => new Promise((resolve, reject) => {
  const worker = new Worker('data:text/javascript,try{postMessage(Deno.readTextFileSync("/etc/passwd"))}catch(e){postMessage("no")}',
    { type: 'module' });
  worker.onmessage = ({ data }) => resolve(data === 'no' ? undefined : data);
  worker.onerror = (event) => { event.preventDefault(); reject(new Error(event.message)); };
}));
await door('fs', async () => (await module('node:fs')).readFileSync('/etc/passwd', 'utf8'));
await door('fs of /proc', async () => (await module('node:fs')).readFileSync('/proc/1/environ', 'utf8'));
await door('child_process', async () => (await module('node:child_process')).execFileSync('/usr/bin/deno', ['--version']));
await door('process.env', () => { const keys = Object.keys(process.env); return keys.length > 0 ? keys.join() : undefined; });
await door('process.binding', () => { const binding = process.binding('fs'); return binding && binding.open ? binding.open('/etc/passwd', 0, 0) : undefined; });
await door('process.dlopen', () => process.dlopen({ exports: {} }, '/lib/x86_64-linux-gnu/libc.so.6') ?? 'loaded');
await door('sqlite', async () => { const { DatabaseSync } = await module('node:sqlite'); new DatabaseSync('/tmp/left.db'); return 'opened'; });
await door('sqlite extension', async () => { const { DatabaseSync } = await module('node:sqlite'); new DatabaseSync(':memory:', { allowExtension: true }).loadExtension('/lib/x86_64-linux-gnu/libc.so.6'); return 'loaded'; });
await door('import of a file', async () => JSON.stringify(await import('file:///etc/passwd', { with: { type: 'json' } })));
await door('unix socket', async () => (await Deno.connect({ transport: 'unix', path: '/var/run/docker.sock' })).constructor.name);
await door('wasi', async () => { const { WASI } = await module('node:wasi'); return new WASI({ version: 'preview1', preopens: { '/': '/' } }).constructor.name; });
await door('inspector', async () => { const { open } = await module('node:inspector'); open(9229); return 'open'; });
return doors;
`;

/** What the realm outside of the context tells of its kernel; nothing where it may not. */
export const KERNEL_TEXT = String.raw`
const told = {};
for (const [name, work] of Object.entries({
  release: () => Deno.osRelease(), version: () => Deno.readTextFileSync('/proc/version'), log: () => Deno.readTextFileSync('/dev/kmsg'),
  os: () => process.getBuiltinModule('node:os').release(),
})) {
  try { told[name] = String(work()); } catch (error) { told[name] = error.name === 'NotCapable' ? 'denied' : String(error); }
}
return told;
`;

export function checkKernel(told: unknown): void {
  for (const answer of Object.values(told as Readonly<Record<string, string>>)) {
    assert.match(answer, /^denied$|^4\.|^$/);
  }
}

/** What it tells of how its process was started. */
export const ENVIRONMENT_TEXT = String.raw`
const told = {};
for (const [name, work] of Object.entries({
  denoEnv: () => Deno.env.toObject(), processEnv: () => ({ ...process.env }), args: () => Deno.args, argv: () => process.argv,
  execArgv: () => process.execArgv, execPath: () => process.execPath, cwd: () => process.cwd(), main: () => Deno.mainModule,
})) {
  try { told[name] = JSON.stringify(work()) ?? null; } catch { told[name] = null; }
}
return told;
`;

export function checkEnvironment(told: unknown): void {
  const { denoEnv, processEnv, execPath, cwd } = told as Readonly<Record<string, string | null>>;
  const declared = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'DENO_DIR', 'DENO_NO_UPDATE_CHECK', 'NO_COLOR'];
  for (const variables of [denoEnv, processEnv]) {
    const names = Object.keys((JSON.parse(variables ?? '{}') as object | null) ?? {});
    assert.deepEqual(
      names.filter((name) => !declared.includes(name)),
      [],
    );
  }
  for (const path of [execPath, cwd]) assert.match(path ?? '""', /^"(\/usr\/bin\/deno|\/|deno|)"$/);
}

export const HOST_ATTACKS: readonly Attack[] = [
  {
    row: 'X01',
    language: 'python',
    name: 'the kernel that a step sees is gVisor’s',
    source: python(String.raw`
def kernel_log():
    buffer = ctypes.create_string_buffer(65536)
    size = call("klogctl", 3, buffer, len(buffer))
    return buffer.raw[:size].decode("latin-1")
door("version", lambda: read("/proc/version"))
door("log", kernel_log)
door("cpu", lambda: read("/proc/cpuinfo")[:200])
doors["uname"] = " ".join(os.uname())
return doors
`),
    ends: ['succeeded'],
    check({ output }) {
      const { version, log } = outputObject(output);
      assert.match(toText(log), /Starting gVisor/);
      assert.ok(!toText(version).includes(release()), 'the machine’s own kernel is seen');
      assert.match(toText(version), /Linux version 4\.\d+/);
    },
  },
  {
    row: 'X01',
    language: 'javascript',
    name: 'nothing tells of a kernel, not even outside of the context',
    source: javascript(String.raw`
return { inside: typeof Deno, outside: (await outside(ctx, input.text)) ?? {} };
`),
    input: () => ({ text: KERNEL_TEXT }),
    ends: ['succeeded'],
    check({ output }) {
      const { inside, outside } = outputObject(output);
      assert.equal(inside, 'undefined');
      checkKernel(outside);
    },
  },
  {
    row: 'X02',
    language: 'javascript',
    name: 'files, processes and devices cannot be reached from inside the context',
    source: javascript(String.raw`
const require = globalThis.require;
await door('Deno', () => globalThis.Deno);
await door('process.binding', () => globalThis.process && process.binding && process.binding('fs'));
await door('getBuiltinModule', () => process.getBuiltinModule('node:fs').readFileSync('/etc/passwd', 'utf8'));
await door('mainModule', () => process.mainModule.require('fs').readFileSync('/etc/passwd', 'utf8'));
for (const name of ['fs', 'node:fs', 'child_process', 'node:worker_threads', 'node:vm', 'node:inspector', 'ext:core/ops']) {
  await door('require ' + name, () => { const found = require(name); return Object.keys(found).length > 0 && found.readFileSync ? found.readFileSync('/etc/passwd') : undefined; });
}
for (const target of ['node:fs', 'file:///etc/passwd', 'data:text/javascript,export default Deno.readTextFileSync("/etc/passwd")', 'npm:lodash', 'jsr:@std/fs', 'https://example.com/x.js', '/etc/passwd', 'ext:core/mod.js']) {
  await door('import ' + target.slice(0, 30), async () => {
    const found = await new Function('target', 'return import(target)')(target);
    return found.readFileSync ? found.readFileSync('/etc/passwd', 'utf8') : found.default;
  });
}
for (const path of input.files) {
  await door('fetch ' + path, async () => (await globalThis.fetch('file://' + path)).text());
  await door('ctx.fetch ' + path, async () => (await ctx.fetch('file://' + path)).text());
}
await door('Worker', () => new globalThis.Worker('data:text/javascript,1', { type: 'module', deno: { permissions: 'inherit' } }));
await door('localStorage', () => { globalThis.localStorage.setItem('a', 'b'); return 'kept'; });
await door('caches', () => globalThis.caches.open('a'));
return doors;
`),
    input: files,
    ends: ['succeeded'],
    check: checkAllDenied,
  },
  {
    row: 'X02',
    language: 'javascript',
    name: 'outside of the context Deno denies files, processes, libraries and permissions',
    source: javascript(
      String.raw`return (await outside(ctx, input.text, input)) ?? { 'the way out': 'denied: there is none' };`,
    ),
    input: ({ files }) => ({ files, text: HOST_DOORS }),
    ends: ['succeeded'],
    check: checkAllDenied,
    withinMs: 60_000,
  },
  {
    row: 'X02',
    language: 'python',
    name: 'files of the host, environments, tokens and sockets of container runtimes are absent',
    source: python(String.raw`
for path in input["files"]:
    door("read " + path, lambda: read(path))
    door("through the root of init: " + path, lambda: read("/proc/1/root" + path))
    door("up: " + path, lambda: read("/" + "../" * 30 + path))
for path in ["/etc/shadow", "/root/.ssh/id_rsa", "/root/.bash_history", "/var/lib/docker", "/proc/kcore", "/proc/kmsg", "/proc/sched_debug", "/proc/keys",
             "/sys/kernel/security", "/sys/firmware", "/sys/class/net", "/sys/kernel/debug",
             "/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets"]:
    door("read " + path, lambda: (os.listdir(path) or None) if os.path.isdir(path) else read(path))
for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/podman/podman.sock", "/run/systemd/private", "/run/dbus/system_bus_socket"]:
    def connect():
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(1)
        client.connect(path)
        return "connected"
    door("connect " + path, connect)
def abstract():
    found = [line for line in read("/proc/net/unix", 65536).splitlines() if "@" in line]
    return found or None
door("abstract sockets", abstract)
def environments():
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try: entries = read("/proc/" + pid + "/environ", 65536).split("\0")
        except OSError: continue
        for entry in entries:
            name = entry.split("=")[0]
            if name not in ("", "PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE"):
                found[pid + " " + name] = entry
    return found or None
door("environments", environments)
def mounts():
    known = ("/proc", "/sys", "/dev", "/tmp", "/shared", "/ ", "/dev/shm", "/dev/pts")
    strange = [line for line in read("/proc/mounts", 65536).splitlines() if not any((" " + where) in line for where in known)]
    return strange or None
door("mounts", mounts)
def writable():
    found = []
    for folder, folders, _ in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys", "/tmp", "/dev")]
        if os.access(folder, os.W_OK):
            found.append(folder)
    return found or None
door("writable folders", writable)
def setuid_files():
    found = []
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/proc", "/sys")]
        for name in names:
            try:
                if os.lstat(os.path.join(folder, name)).st_mode & 0o6000: found.append(os.path.join(folder, name))
            except OSError: pass
    return found or None
door("setuid files", setuid_files)
def shells():
    return [path for path in ["/bin/sh", "/bin/bash", "/usr/bin/sh", "/bin/busybox", "/usr/bin/env", "/usr/bin/perl", "/usr/bin/curl", "/bin/mount", "/usr/bin/nsenter"] if os.path.exists(path)] or None
door("shells and tools", shells)
return doors
`),
    input: files,
    ends: ['succeeded'],
    check: checkAllDenied,
  },
  {
    row: 'X02',
    language: 'python',
    name: 'devices, mounts, ptrace, bpf and raw sockets are absent or denied',
    source: python(String.raw`
import platform
x86 = platform.machine() == "x86_64"
for path in ["/dev/mem", "/dev/kmem", "/dev/port", "/dev/kvm", "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/loop0", "/dev/kmsg", "/dev/vsock", "/dev/vhost-net", "/dev/input", "/dev/snd", "/dev/nvidia0"]:
    door("open " + path, lambda: os.open(path, os.O_RDONLY))
# gVisor makes /dev by itself; none of these is the machine's.
allowed = {"char", "core", "fd", "full", "fuse", "net", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero", "mqueue", "console"}
door("other devices", lambda: sorted(set(os.listdir("/dev")) - allowed) or None)
door("mknod", lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(8, 0)) or os.open("/tmp/disk", os.O_RDONLY))
def tun():
    import fcntl
    fcntl.ioctl(os.open("/dev/net/tun", os.O_RDWR), 0x400454ca, b"tun0".ljust(16, b"\0") + b"\x01\x10".ljust(24, b"\0"))
    return "made"
door("network device", tun)
door("mount fuse", lambda: call("mount", b"none", b"/tmp", b"fuse", 0, b"fd=%d,rootmode=40000,user_id=65532,group_id=65532" % os.open("/dev/fuse", os.O_RDWR)))
door("mount tmpfs", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
door("mount proc", lambda: call("mount", b"none", b"/tmp", b"proc", 0, None))
door("bind mount", lambda: call("mount", b"/", b"/tmp", None, 4096, None))
door("remount writable", lambda: call("mount", None, b"/", None, 32, None))
door("umount", lambda: call("umount2", b"/proc", 2))
door("pivot_root", lambda: syscall(155 if x86 else 41, b"/tmp", b"/tmp"))
door("chroot", lambda: os.chroot("/tmp") or "changed")
door("unshare mount", lambda: call("unshare", 0x00020000))
door("setns", lambda: call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
door("setuid", lambda: os.setuid(0) or "root")
door("setgroups", lambda: os.setgroups([0]) or "set")
door("ptrace init", lambda: call("ptrace", 16, 1, None, None))
door("ptrace seize init", lambda: call("ptrace", 0x4206, 1, None, None))
door("ptrace parent", lambda: call("ptrace", 16, os.getppid(), None, None))
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def read_memory_of(pid):
    # Something is mapped at the beginning of its program.
    start = int(read("/proc/%d/maps" % pid).split("-")[0], 16)
    buffer = ctypes.create_string_buffer(4096)
    size = call("process_vm_readv", pid, ctypes.byref(Vector(ctypes.addressof(buffer), 4096)), ctypes.c_ulong(1), ctypes.byref(Vector(start, 4096)), ctypes.c_ulong(1), ctypes.c_ulong(0))
    return "%d bytes" % size
if os.getpid() != 1:
    door("process_vm_readv of init", lambda: read_memory_of(1))
    def memory():
        start = int(read("/proc/1/maps").split("-")[0], 16)
        with open("/proc/1/mem", "rb", buffering=0) as file:
            file.seek(start)
            return "%d bytes" % len(file.read(4096))
    door("memory file of init", memory)
door("bpf", lambda: syscall(321 if x86 else 280, 0, None, 0))
door("perf_event_open", lambda: syscall(298 if x86 else 241, None, 0, -1, -1, 0))
door("io_uring", lambda: syscall(425, 8, None))
door("userfaultfd", lambda: syscall(323 if x86 else 282, 0))
door("add_key", lambda: syscall(248 if x86 else 217, b"user", b"left", b"x", 1, -4))
door("kexec_load", lambda: syscall(246 if x86 else 104, 0, 0, None, 0))
door("init_module", lambda: syscall(175 if x86 else 105, None, 0, b""))
door("open_by_handle_at", lambda: syscall(304 if x86 else 265, -100, None, 0))
door("reboot", lambda: call("reboot", 0))
door("sethostname", lambda: call("sethostname", b"mine", 4))
door("settimeofday", lambda: time.clock_settime(time.CLOCK_REALTIME, 0) or "set")
door("swapon", lambda: call("swapon", b"/tmp", 0))
door("iopl", lambda: call("iopl", 3) if x86 else None)
door("raw IP socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
door("packet socket", lambda: socket.socket(17, socket.SOCK_RAW, 0x300))
door("netlink route change", lambda: socket.socket(16, socket.SOCK_RAW, 12))
door("vsock", lambda: socket.socket(40, socket.SOCK_STREAM).connect((2, 22)) or "connected")
def capabilities():
    lines = [line.split() for line in read("/proc/self/status").splitlines() if line.startswith("Cap")]
    return [line for line in lines if int(line[1], 16) != 0] or None
door("capabilities", capabilities)
door("new privileges", lambda: None if call("prctl", 39, 0, 0, 0, 0) == 1 else "allowed")
return doors
`),
    ends: ['succeeded'],
    check: checkAllDenied,
  },
  {
    row: 'X03',
    language: 'python',
    name: 'environment, command line and descriptors are the declared ones',
    source: python(String.raw`
descriptors = {}
for name in os.listdir("/proc/self/fd"):
    try: descriptors[name] = os.readlink("/proc/self/fd/" + name)
    except OSError: pass
return {
    "environment": dict(os.environ),
    "raw": sorted(entry for entry in read("/proc/self/environ", 65536).split("\0") if entry),
    "command": read("/proc/self/cmdline").split("\0"),
    "commands": {pid: read("/proc/" + pid + "/cmdline") for pid in os.listdir("/proc") if pid.isdigit()},
    "descriptors": descriptors,
    "host": socket.gethostname(),
    "user": [os.getuid(), os.getgid(), os.geteuid(), os.getgroups()],
}
`),
    ends: ['succeeded'],
    check({ output }) {
      const { environment, raw, descriptors, commands, host, user } = outputObject(output);
      const names = [
        ...Object.keys(environment as object),
        ...(raw as string[]).map((entry) => entry.split('=')[0]!),
      ];
      const declared = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'LC_CTYPE'];
      assert.deepEqual(
        names.filter((name) => !declared.includes(name)),
        [],
      );
      for (const target of Object.values(descriptors as Record<string, string>)) {
        // Files of its own, what it talks with, and the folder that it is listing.
        assert.match(
          target,
          /^(pipe|socket|host|anon_inode|eventfd|\[?eventpoll)|^\/dev\/(null|u?random|std)|^\/proc\/|^\/(runner|python|shared|tmp)\b/,
        );
      }
      for (const command of Object.values(commands as Record<string, string>)) {
        assert.match(command, /^\/python\/bin\/|^$/);
      }
      assert.equal(host, 'sandbox');
      assert.deepEqual((user as unknown[]).slice(0, 3), [65_532, 65_532, 65_532]);
    },
  },
  {
    row: 'X03',
    language: 'javascript',
    name: 'environment, command line and descriptors are the declared ones',
    source: javascript(String.raw`
let env = null;
try { env = { ...process.env }; } catch {}
return { env, outside: (await outside(ctx, input.text)) ?? {} };
`),
    input: () => ({ text: ENVIRONMENT_TEXT }),
    ends: ['succeeded'],
    check({ output }) {
      const { env, outside } = outputObject(output);
      assert.deepEqual(
        Object.keys((env as object | null) ?? {}).filter((name) => !/^(NODE_ENV|TZ|LANG)$/.test(name)),
        [],
      );
      checkEnvironment(outside);
    },
  },
];
