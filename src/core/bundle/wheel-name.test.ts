import { describe, expect, it } from 'vitest';
import { machineOf, parseWheelName, platformsOf, pythonTarget, runsOn } from './wheel-name.ts';

const X86 = pythonTarget('x86_64');

describe('parseWheelName', () => {
  it('reads name, version and tags', () => {
    expect(
      parseWheelName(
        'Charset_Normalizer-3.4.0-1build-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl',
      ),
    ).toEqual({
      name: 'charset-normalizer',
      version: '3.4.0',
      pythons: ['cp311'],
      abis: ['cp311'],
      platforms: ['manylinux_2_17_x86_64', 'manylinux2014_x86_64'],
    });
  });

  it.each([
    'x.tar.gz',
    'x-1.0.whl',
    'x-1.0-py3-none.whl',
    '../x-1.0-py3-none-any.whl',
    'a/x-1.0-py3-none-any.whl',
  ])('%s is none', (name) => expect(parseWheelName(name)).toBeUndefined());
});

describe('runsOn', () => {
  it.each([
    ['py3-none-any', true],
    ['py2.py3-none-any', true],
    ['py311-none-any', true],
    ['py312-none-any', false],
    ['py2-none-any', false],
    ['cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64', true],
    ['cp311-cp311-manylinux1_x86_64', true],
    ['cp311-cp311-manylinux_2_36_x86_64', true],
    ['cp311-cp311-manylinux_2_39_x86_64', false],
    ['cp311-cp311-linux_x86_64', true],
    ['cp38-abi3-manylinux_2_28_x86_64', true],
    ['cp38.cp39-abi3-manylinux_2_28_x86_64', true],
    ['cp312-abi3-manylinux_2_28_x86_64', false],
    ['cp310-cp310-manylinux_2_17_x86_64', false],
    ['cp311-cp311d-manylinux_2_17_x86_64', false],
    ['cp311-none-manylinux_2_17_x86_64', true],
    ['pp311-pypy311_pp73-manylinux_2_17_x86_64', false],
    ['cp311-cp311-manylinux_2_17_aarch64', false],
    ['cp311-cp311-musllinux_1_2_x86_64', false],
    ['cp311-cp311-macosx_11_0_arm64', false],
    ['cp311-cp311-win_amd64', false],
  ])('%s: %s', (tags, expected) => {
    expect(runsOn(parseWheelName(`x-1.0-${tags}.whl`)!, X86)).toBe(expected);
  });

  it('knows both machines', () => {
    const wheel = parseWheelName('x-1.0-cp311-cp311-manylinux2014_aarch64.whl')!;
    expect([runsOn(wheel, X86), runsOn(wheel, pythonTarget(machineOf('arm64')))]).toEqual([false, true]);
  });
});

it('every platform that pip is asked for is one that runs', () => {
  const platforms = platformsOf(X86);
  expect(platforms.slice(0, 2)).toEqual(['manylinux_2_36_x86_64', 'manylinux_2_35_x86_64']);
  for (const platform of platforms) {
    expect(runsOn(parseWheelName(`x-1.0-cp311-cp311-${platform}.whl`)!, X86), platform).toBe(true);
  }
});
