import { normalizeName } from './requirements.ts';

/** A wheel's file name says what is in it and where it runs (PyPA: binary distribution format, PEP 600). */
export interface WheelName {
  /** Normalised. */
  readonly name: string;
  readonly version: string;
  readonly pythons: readonly string[];
  readonly abis: readonly string[];
  readonly platforms: readonly string[];
}

export const MACHINES = ['x86_64', 'aarch64'] as const;
export type Machine = (typeof MACHINES)[number];

/** The Python that steps run in. */
export interface PythonTarget {
  readonly version: readonly [major: number, minor: number];
  readonly machine: Machine;
  /** The newest minor version of glibc 2 that it has. */
  readonly glibc: number;
}

export const pythonTarget = (machine: Machine): PythonTarget => ({ version: [3, 11], machine, glibc: 36 });

/** As `process.arch` names it. */
export const machineOf = (arch: string): Machine => (arch === 'arm64' ? 'aarch64' : 'x86_64');

const WHEEL =
  /^([A-Za-z0-9](?:[A-Za-z0-9._]*[A-Za-z0-9])?)-([A-Za-z0-9_.!+]+)(?:-\d[A-Za-z0-9_.]*)?-([A-Za-z0-9_.]+)-([A-Za-z0-9_.]+)-([A-Za-z0-9_.]+)\.whl$/;
/** The glibc that the older names of platforms stand for. */
const LEGACY_MANYLINUX: Readonly<Record<string, number>> = {
  manylinux1: 5,
  manylinux2010: 12,
  manylinux2014: 17,
};

/** Undefined for what is no name of a wheel. */
export function parseWheelName(fileName: string): WheelName | undefined {
  const match = WHEEL.exec(fileName);
  if (match === null) return undefined;
  const [, name = '', version = '', pythons = '', abis = '', platforms = ''] = match;
  return {
    name: normalizeName(name),
    version,
    pythons: pythons.split('.'),
    abis: abis.split('.'),
    platforms: platforms.split('.'),
  };
}

/** Whether a wheel runs on `target`. */
export function runsOn(wheel: WheelName, target: PythonTarget): boolean {
  const [major, minor] = target.version;
  const exact = `cp${major}${minor}`;
  const isPython = wheel.pythons.some((tag) => {
    const match = /^(cp|py)(\d)(\d*)$/.exec(tag);
    if (match === null || Number(match[2]) !== major) return false;
    if (tag === exact) return true;
    const isOlder = match[3] === '' || Number(match[3]) <= minor;
    // An extension for an older CPython runs only if it keeps to the stable ABI.
    return isOlder && (match[1] === 'py' || wheel.abis.includes('abi3'));
  });
  const isAbi = wheel.abis.some((abi) => abi === 'none' || abi === 'abi3' || abi === exact);
  return isPython && isAbi && wheel.platforms.some((platform) => isPlatform(platform, target));
}

function isPlatform(platform: string, { machine, glibc }: PythonTarget): boolean {
  if (platform === 'any' || platform === `linux_${machine}`) return true;
  const match = /^(manylinux\d+|manylinux_2_(\d+))_(.+)$/.exec(platform);
  if (match === null || match[3] !== machine) return false;
  const needed = match[2] === undefined ? LEGACY_MANYLINUX[match[1] ?? ''] : Number(match[2]);
  return needed !== undefined && needed <= glibc;
}

/** Every platform that `pip download --platform` may take a wheel of, the newest first. */
export function platformsOf({ machine, glibc }: PythonTarget): readonly string[] {
  const modern = Array.from({ length: glibc - 4 }, (_, index) => `manylinux_2_${glibc - index}_${machine}`);
  return [
    ...modern,
    ...Object.keys(LEGACY_MANYLINUX).map((name) => `${name}_${machine}`),
    `linux_${machine}`,
  ];
}

export const describeTarget = ({ version, machine, glibc }: PythonTarget): string =>
  `CPython ${version.join('.')} on Linux ${machine} (manylinux, glibc 2.${glibc})`;
