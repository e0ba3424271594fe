/** What of Deno's own API the runner uses; the platform's type check knows Node alone. */
export interface DenoApi {
  readonly version: { readonly deno: string; readonly v8: string };
  readonly stdin: { read(buffer: Uint8Array): Promise<number | null> };
  readonly stdout: {
    write(bytes: Uint8Array): Promise<number>;
    writeSync(bytes: Uint8Array): number;
  };
  exit(code: number): never;
}

/** @throws Error outside of Deno */
export function denoApi(): DenoApi {
  const { Deno } = globalThis as { Deno?: DenoApi };
  if (Deno === undefined) throw new Error('the JavaScript runner runs in Deno');
  return Deno;
}
