import { z } from 'zod';

// zod otherwise compiles parsers with `new Function`, which our processes forbid
// (`--disable-code-generation-from-strings`). Everyone imports `z` from here.
z.config({ jitless: true });

export { z };
