/** What of Deno's own API the relay uses; the platform's type check knows Node alone. */
export interface Connection {
  read(buffer: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}
export interface TcpConnection extends Connection {
  setNoDelay(noDelay: boolean): void;
}
export interface TlsConnection extends Connection {
  handshake(): Promise<unknown>;
}
export interface Listener {
  accept(): Promise<TcpConnection>;
  close(): void;
}
export interface DenoApi {
  readonly args: readonly string[];
  readonly stderr: { writeSync(bytes: Uint8Array): number };
  readTextFile(path: string): Promise<string>;
  writeTextFile(path: string, text: string): Promise<void>;
  listen(options: { readonly hostname: string; readonly port: number }): Listener;
  connect(options: { readonly hostname: string; readonly port: number }): Promise<TcpConnection>;
  /** `caCerts` are trusted besides those of the image, which has none. */
  startTls(
    connection: TcpConnection,
    options: { readonly hostname: string; readonly caCerts: readonly string[] },
  ): Promise<TlsConnection>;
  exit(code: number): never;
}

/** @throws Error outside of Deno */
export function denoApi(): DenoApi {
  const { Deno } = globalThis as { Deno?: DenoApi };
  if (Deno === undefined) throw new Error('the relay runs in Deno');
  return Deno;
}
