import { randomBytes } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Secrets that nothing may show (SECURITY.md): planted before an attack, searched for after it, in every spelling. */
export interface Canaries {
  readonly encryptionKey: string;
  readonly jwtSecret: string;
  readonly databasePassword: string;
  /** A value of a credential of a tenant that attacks nobody. */
  readonly foreignSecret: string;
  /** What the broker may add to requests of the attackers' own tenant: its code must not see it. */
  readonly token: string;
  /** Files on this machine that hold one. */
  readonly files: readonly string[];
  /** The names of those that are in a text, each with how it is spelt there. */
  find(text: string): readonly string[];
  /** Removes the files and variables. */
  remove(): Promise<void>;
}

const VARIABLES = ['MILLRACE_TEST_CANARY', 'AWS_SECRET_ACCESS_KEY'] as const;

/** @param folders where files are planted, besides the temporary folder and the user's own */
export async function plantCanaries(folders: readonly string[]): Promise<Canaries> {
  // `+`, `/` and `=` look different in each spelling.
  const make = (name: string): string => `canary+${name}/${randomBytes(18).toString('hex')}=`;
  const encryptionKey = randomBytes(32);
  const values = {
    encryptionKey: encryptionKey.toString('hex'),
    jwtSecret: make('jwt-secret'),
    databasePassword: make('database-password'),
    foreignSecret: make('foreign-secret'),
    token: make('token'),
  };
  const files: string[] = [];
  const texts = new Map<string, string>(Object.entries(values));
  const plant = async (folder: string, name: string): Promise<void> => {
    await mkdir(folder, { recursive: true });
    const text = make('file');
    const file = join(folder, name);
    await writeFile(file, text);
    texts.set(`file ${file}`, text);
    files.push(file);
  };
  const id = randomBytes(4).toString('hex');
  for (const folder of [...folders, tmpdir(), homedir()]) await plant(folder, `canary-${id}.txt`);
  for (const name of VARIABLES) {
    const text = make('variable');
    texts.set(`variable ${name}`, text);
    process.env[name] = text;
  }
  const spellings = [...texts].flatMap(([name, text]) => spellingsOf(name, Buffer.from(text)));
  spellings.push(...spellingsOf('encryptionKey (bytes)', encryptionKey));
  return {
    ...values,
    files,
    find: (text) => spellings.filter(({ form }) => text.includes(form)).map(({ name }) => name),
    async remove() {
      for (const name of VARIABLES) delete process.env[name];
      await Promise.all(files.map((file) => rm(file, { force: true })));
    },
  };
}

interface Spelling {
  readonly name: string;
  readonly form: string;
}

function spellingsOf(name: string, value: Buffer): readonly Spelling[] {
  const text = value.toString('latin1');
  const hex = value.toString('hex');
  const forms: readonly (readonly [string, string])[] = [
    ['as it is', text],
    ['backwards', Buffer.from(value).reverse().toString('latin1')],
    ['URL-encoded', encodeURIComponent(text)],
    ['as a form', new URLSearchParams({ v: text }).toString().slice(2)],
    ['every byte percent-encoded', percent(hex)],
    ['every byte percent-encoded, upper case', percent(hex.toUpperCase())],
    ['in JSON', JSON.stringify(text).slice(1, -1)],
    ['in JSON, escaped', JSON.stringify(text).slice(1, -1).replaceAll('/', '\\/')],
    ['hex', hex],
    ['upper-case hex', hex.toUpperCase()],
    ['in HTML', text.replaceAll('+', '&#43;').replaceAll('/', '&#x2F;').replaceAll('=', '&#x3D;')],
    ['as numbers', [...value].join(',')],
    ...[0, 1, 2].flatMap((offset): readonly (readonly [string, string])[] => [
      [`base64 at ${offset}`, base64At(value, offset)],
      [`base64url at ${offset}`, base64At(value, offset).replaceAll('+', '-').replaceAll('/', '_')],
    ]),
  ];
  const seen = new Set<string>();
  return forms.flatMap(([how, form]) => {
    if (seen.has(form)) return [];
    seen.add(form);
    return [{ name: `${name}, ${how}`, form }];
  });
}

const percent = (hex: string): string => hex.replaceAll(/../g, '%$&');

/** The characters of base64 that are the value's alone when `offset` bytes stand before it, and any after it. */
function base64At(value: Buffer, offset: number): string {
  const encoded = Buffer.concat([Buffer.alloc(offset), value])
    .toString('base64')
    .replace(/=+$/, '');
  const start = Math.ceil((offset * 8) / 6);
  const end = Math.floor(((offset + value.length) * 8) / 6);
  return encoded.slice(start, end);
}
