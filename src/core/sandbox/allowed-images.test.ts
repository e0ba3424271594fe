import { describe, expect, test } from 'vitest';
import { isAllowedImage, parseAllowedImages } from './allowed-images.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('an image', () => {
  test.each<[string, string, boolean]>([
    ['ghcr.io/acme/', 'ghcr.io/acme/tool', true],
    ['ghcr.io/acme/', 'ghcr.io/acme/team/tool:1.2', true],
    ['ghcr.io/acme/', `ghcr.io/acme/tool@${DIGEST}`, true],
    ['ghcr.io/acme/', 'ghcr.io/acme-evil/tool', false],
    ['ghcr.io/acme/', 'ghcr.io.evil.example/acme/tool', false],
    ['ghcr.io/acme/', 'evil.example/ghcr.io/acme/tool', false],
    ['ghcr.io/acme/', 'ghcr.io/acme', false],
    ['ghcr.io/acme/tool', 'ghcr.io/acme/tool:1.2', true],
    ['ghcr.io/acme/tool', `ghcr.io/acme/tool:1.2@${DIGEST}`, true],
    ['ghcr.io/acme/tool', 'ghcr.io/acme/tools:1.2', false],
    ['ghcr.io/acme/tool', 'ghcr.io/acme/tool/other', false],
    ['ghcr.io/acme/tool:1.2', 'ghcr.io/acme/tool:1.2', true],
    ['ghcr.io/acme/tool:1.2', 'ghcr.io/acme/tool:1.3', false],
    ['ghcr.io/acme/tool:1.2', 'ghcr.io/acme/tool', false],
    ['localhost:5000/', 'localhost:5000/tool:1', true],
    ['localhost:5000/', 'localhost:5001/tool:1', false],
    ['docker.io/library/', 'busybox:1', false],
    ['busybox', 'busybox:1', true],
    ['a, ghcr.io/acme/ ,b', 'ghcr.io/acme/tool:1', true],
    ['', 'busybox:1', false],
    ['ghcr.io/acme/', 'ghcr.io/acme/../evil/tool', false],
  ])('by %j, %s is allowed: %s', (text, image, isAllowed) => {
    expect(isAllowedImage(parseAllowedImages(text), image)).toBe(isAllowed);
  });

  test.each(['*', 'https://ghcr.io/acme/', 'ghcr.io/Acme/Tool', '/', 'a b'])('is not %j', (text) => {
    expect(() => parseAllowedImages(`ghcr.io/acme/,${text}`)).toThrow(
      `\`${text}\` is no image; write ghcr.io/acme/ for all`,
    );
  });
});
