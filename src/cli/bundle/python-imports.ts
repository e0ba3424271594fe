/** The names that a Python module imports, as far as they can be told without running it; rather too many than too few. */
export function importedNames(text: string): ReadonlySet<string> {
  const names = new Set<string>();
  const joined = text
    .replaceAll(/\\\r?\n/g, ' ')
    .replaceAll(/\(([^()]*)\)/g, (_, inner: string) => inner.replaceAll(/#.*|\n/g, ' '));
  for (const line of joined.split(/\r?\n|;/)) {
    const plain = /^\s*import\s+(.+)$/.exec(line)?.[1];
    if (plain !== undefined) {
      for (const part of plain.split(',')) add(names, /^\s*([\w.]+)/.exec(part)?.[1]);
      continue;
    }
    const from = /^\s*from\s+([\w.]+)\s+import\s+(.+)$/.exec(line);
    const [, base = '', imported = ''] = from ?? [];
    if (from === null) continue;
    add(names, base);
    // What is imported from a package may be a module of it.
    for (const part of imported.split(',')) {
      const name = /^\s*(\w+)/.exec(part)?.[1];
      if (name !== undefined) add(names, base.endsWith('.') ? base + name : `${base}.${name}`);
    }
  }
  return names;
}

function add(names: Set<string>, name: string | undefined): void {
  if (name !== undefined && name !== '') names.add(name);
}

/** Where the module that `importer` imports as `name` could lie, with the packages around it; relative to the workflow. */
export function candidatePaths(importer: string, name: string): readonly string[] {
  const folder = importer.split('/').slice(0, -1);
  const dots = /^\.*/.exec(name)?.[0].length ?? 0;
  const parts = name.slice(dots).split('.').filter(Boolean);
  // Beside the importer, and below the folder of the workflow; a relative name has one place alone.
  const bases = dots === 0 ? [folder, []] : [folder.slice(0, folder.length - (dots - 1))];
  if (dots > folder.length + 1) return [];
  return bases.flatMap((base) =>
    parts
      .map((_, index) => [...base, ...parts.slice(0, index + 1)].join('/'))
      .flatMap((path) => [`${path}.py`, `${path}/__init__.py`])
      .concat(parts.length === 0 ? [[...base, '__init__.py'].join('/')] : []),
  );
}
