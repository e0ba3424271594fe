import assert from 'node:assert/strict';
import { javascript, python, type Attack } from './attack.ts';

const seconds = (timeout: number) => () => ({ timeout: `${timeout}s` });

/** As SECURITY X05 has it, with the start of a sandbox. */
export const KILLED_WITHIN_MS = 5000;

/** X04 to X06: processes, memory, files. */
export const EXHAUSTION_ATTACKS: readonly Attack[] = [
  {
    row: 'X04',
    language: 'python',
    name: 'a fork bomb ends as resource_limit',
    source: python(String.raw`
while True:
    if os.fork() == 0:
        try: os.setsid()
        except OSError: pass
`),
    keys: seconds(20),
    ends: ['resource_limit'],
    withinMs: 15_000,
    heavy: true,
  },
  {
    row: 'X04',
    language: 'python',
    name: 'a fork bomb that takes no error for an answer ends as resource_limit, or at its timeout',
    source: python(String.raw`
fork = libc.fork
while True:
    if fork() != 0:
        try: os.fork()
        except BaseException: pass
`),
    keys: seconds(6),
    ends: ['resource_limit', 'timeout', 'out_of_memory'],
    withinMs: 15_000,
    heavy: true,
  },
  {
    row: 'X04',
    language: 'python',
    name: '10^5 threads end as resource_limit',
    source: python(String.raw`
threads = []
for _ in range(100_000):
    thread = threading.Thread(target=time.sleep, args=(60,), daemon=True)
    thread.start()
    threads.append(thread)
return len(threads)
`),
    keys: seconds(20),
    ends: ['resource_limit'],
    withinMs: 15_000,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'python',
    name: 'a memory bomb on the heap ends as out_of_memory',
    source: python(String.raw`
kept = []
while True:
    kept.append(bytearray(os.urandom(1 << 16) * 64))
`),
    keys: seconds(30),
    ends: ['out_of_memory'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'python',
    name: 'a memory bomb in memfd ends as out_of_memory',
    source: python(String.raw`
block = os.urandom(1 << 20)
while True:
    # One file may not be larger than this.
    descriptor = os.memfd_create("bomb")
    for _ in range(60): os.write(descriptor, block)
`),
    keys: seconds(30),
    ends: ['out_of_memory'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'python',
    name: 'a memory bomb in shared anonymous memory ends as out_of_memory',
    source: python(String.raw`
import mmap
kept = []
block = os.urandom(1 << 20)
while True:
    area = mmap.mmap(-1, 1 << 24)
    for at in range(16):
        area.write(block)
    kept.append(area)
`),
    keys: seconds(30),
    ends: ['out_of_memory'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'python',
    name: 'a memory bomb in System V shared memory ends as out_of_memory, or is refused',
    source: python(String.raw`
libc.shmat.restype = ctypes.c_void_p
while True:
    segment = call("shmget", 0, ctypes.c_size_t(1 << 24), 0o1600)
    where = libc.shmat(segment, None, 0)
    if where in (None, ctypes.c_void_p(-1).value): raise OSError(ctypes.get_errno(), "shmat")
    ctypes.memset(where, 0x5a, 1 << 24)
    # It stays, though nothing maps it any more.
    call("shmdt", ctypes.c_void_p(where))
`),
    keys: seconds(30),
    ends: ['out_of_memory', 'resource_limit', 'code_error'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'python',
    name: 'memory bombs in the tmpfs of /tmp and /dev/shm are refused at their size',
    source: python(String.raw`
block = os.urandom(1 << 20)
def fill(path):
    written = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < 1 << 30:
                written += file.write(block)
    except OSError as error:
        return [written >> 20, errno.errorcode[error.errno]]
    return [written >> 20, "all"]
return {"tmp": fill("/tmp/bomb"), "shm": fill("/dev/shm/bomb")}
`),
    keys: seconds(30),
    ends: ['succeeded', 'out_of_memory', 'resource_limit'],
    check({ state, output }) {
      if (state !== 'succeeded') return;
      const { tmp, shm } = output as Record<string, [number, string]>;
      for (const [mebibytes, why] of [tmp!, shm!]) {
        assert.ok(mebibytes <= 64, `${mebibytes} MiB were written`);
        assert.match(why, /^(ENOSPC|EFBIG|EACCES|EROFS|ENOENT)$/);
      }
    },
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'python',
    name: 'a memory bomb of many processes ends as out_of_memory',
    source: python(String.raw`
for _ in range(8):
    if os.fork() == 0:
        kept = []
        while True:
            kept.append(os.urandom(1 << 20))
os.wait()
time.sleep(20)
`),
    keys: seconds(30),
    ends: ['out_of_memory', 'resource_limit'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'javascript',
    name: 'a memory bomb on the heap ends as out_of_memory',
    source: javascript(String.raw`
const kept = [];
for (;;) kept.push(new Array(100000).fill({ a: kept.length }));
`),
    keys: seconds(30),
    ends: ['out_of_memory'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'javascript',
    name: 'a memory bomb of buffers off the heap ends as out_of_memory',
    source: javascript(String.raw`
const kept = [];
for (;;) kept.push(new Uint8Array(1 << 24).fill(1 + kept.length));
`),
    keys: seconds(30),
    ends: ['out_of_memory'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'javascript',
    name: 'a memory bomb in WebAssembly ends as out_of_memory',
    source: javascript(String.raw`
const kept = [];
for (;;) {
  const memory = new WebAssembly.Memory({ initial: 256, maximum: 65536 });
  new Uint8Array(memory.buffer).fill(7);
  kept.push(memory);
}
`),
    keys: seconds(30),
    ends: ['out_of_memory', 'code_error'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X05',
    language: 'javascript',
    name: 'a memory bomb of text ends as out_of_memory',
    source: javascript(String.raw`
const kept = [];
for (;;) kept.push(JSON.stringify(new Array(50000).fill('x' + Math.random())));
`),
    keys: seconds(30),
    ends: ['out_of_memory'],
    withinMs: KILLED_WITHIN_MS,
    heavy: true,
  },
  {
    row: 'X06',
    language: 'python',
    name: 'a file of 10 GB ends as resource_limit',
    source: python(String.raw`
block = bytes(1 << 20)
with open("/tmp/large", "wb", buffering=0) as file:
    for _ in range(10_000):
        file.write(block)
return "written"
`),
    keys: seconds(30),
    ends: ['resource_limit'],
    withinMs: 8000,
    heavy: true,
  },
  {
    row: 'X06',
    language: 'python',
    name: 'a sparse file of 10 GB takes nothing, or is refused',
    source: python(String.raw`
with open("/tmp/sparse", "wb") as file:
    file.truncate(10 * (1 << 30))
    file.seek(9 * (1 << 30))
    for _ in range(128):
        file.write(os.urandom(1 << 20))
return "written"
`),
    keys: seconds(30),
    ends: ['resource_limit', 'code_error', 'out_of_memory'],
    withinMs: 8000,
    heavy: true,
  },
  {
    row: 'X06',
    language: 'python',
    name: '10^6 files end as resource_limit or out_of_memory',
    source: python(String.raw`
for n in range(1_000_000):
    os.close(os.open("/tmp/" + str(n), os.O_CREAT | os.O_WRONLY))
return "made"
`),
    keys: seconds(60),
    ends: ['resource_limit', 'out_of_memory', 'timeout'],
    withinMs: 65_000,
    heavy: true,
  },
  {
    row: 'X06',
    language: 'python',
    name: 'descriptors run out for that step alone',
    source: python(String.raw`
kept = []
try:
    while len(kept) < 100_000:
        kept.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    return [len(kept), errno.errorcode[error.errno]]
return [len(kept), "all"]
`),
    ends: ['succeeded', 'resource_limit', 'code_error'],
    check({ state, output }) {
      if (state === 'succeeded') assert.deepEqual((output as unknown[])[1], 'EMFILE');
    },
  },
];
