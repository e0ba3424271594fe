import type { EventEmitter } from 'node:events';
import type stream from 'node:stream';

type Fetch = (input: unknown, init?: RequestInit) => Promise<Response>;
type Headers = Readonly<Record<string, string | number | readonly string[] | undefined>>;

interface RequestOptions {
  readonly protocol?: string;
  readonly hostname?: string;
  readonly host?: string;
  readonly port?: string | number;
  readonly path?: string;
  readonly auth?: string;
  readonly method?: string;
  readonly headers?: Headers;
  readonly signal?: AbortSignal;
  readonly timeout?: number;
}

export interface HttpParts {
  readonly stream: typeof stream;
  readonly events: new () => EventEmitter;
  readonly fetch: Fetch;
}

type OnResponse = (message: stream.Readable) => void;
type RequestArguments = [input: string | URL | RequestOptions, ...rest: (RequestOptions | OnResponse)[]];

const METHODS = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT'];

/**
 * The client's half of `node:http` and `node:https` on top of `fetch`, so that packages without a build for `fetch` (got,
 * node-fetch) reach the broker. Servers, sockets and agents' pools are not there.
 */
export function createHttp(protocol: 'http:' | 'https:', parts: HttpParts): object {
  const { IncomingMessage, ClientRequest } = createClasses(protocol, parts);
  class Agent {
    readonly options: object;
    readonly protocol = protocol;
    readonly defaultPort = protocol === 'http:' ? 80 : 443;
    maxSockets = Infinity;
    readonly sockets = {};
    readonly requests = {};

    constructor(options: object = {}) {
      this.options = options;
    }

    destroy(): void {}
  }
  const request = (...args: RequestArguments): stream.Writable => new ClientRequest(...args);
  return {
    Agent,
    globalAgent: new Agent(),
    ClientRequest,
    IncomingMessage,
    METHODS: [...METHODS],
    STATUS_CODES: {},
    maxHeaderSize: 16_384,
    validateHeaderName: () => undefined,
    validateHeaderValue: () => undefined,
    request,
    get: (...args: RequestArguments) => request(...args).end(),
  };
}

function createClasses(protocol: string, { stream, events: EventEmitter, fetch }: HttpParts) {
  /** A response, read as its reader reads. */
  class IncomingMessage extends stream.Readable {
    readonly statusCode: number;
    readonly statusMessage: string;
    readonly headers: Readonly<Record<string, string | string[]>>;
    readonly rawHeaders: readonly string[];
    readonly httpVersion = '1.1';
    readonly httpVersionMajor = 1;
    readonly httpVersionMinor = 1;
    readonly trailers = {};
    readonly rawTrailers = [];
    readonly url = '';
    readonly socket: object;
    readonly req: object;
    complete = false;
    readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;

    constructor(response: Response, socket: object, req: object) {
      super();
      this.req = req;
      this.statusCode = response.status;
      this.statusMessage = response.statusText;
      this.headers = headersOf(response);
      this.rawHeaders = [...response.headers].flat();
      this.socket = socket;
      this.#reader = response.body?.getReader();
    }

    override _read(): void {
      void this.#pull();
    }

    override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
      void this.#stop();
      done(error);
    }

    async #stop(): Promise<void> {
      try {
        await this.#reader?.cancel();
      } catch {
        // It has failed already, and its reader was told.
      }
    }

    async #pull(): Promise<void> {
      try {
        const { done, value } = (await this.#reader?.read()) ?? { done: true };
        if (done) this.complete = true;
        this.push(value === undefined ? null : Buffer.from(value));
      } catch (error) {
        this.destroy(error as Error);
      }
    }
  }

  /** A request, which is sent when its first bytes are written, or when it is ended without any. */
  class ClientRequest extends stream.Writable {
    readonly protocol: string;
    readonly host: string;
    readonly path: string;
    readonly method: string;
    readonly reusedSocket = false;
    readonly socket = createSocket();
    readonly connection = this.socket;
    res: IncomingMessage | undefined;
    readonly #url: URL;
    readonly #headers = new Map<string, { readonly name: string; readonly value: string }>();
    readonly #controller = new AbortController();
    #body: ReadableStreamDefaultController<Uint8Array> | undefined;
    #onRoom: (() => void) | undefined;
    #hasBegun = false;
    #timer: NodeJS.Timeout | undefined;

    constructor(...args: RequestArguments) {
      super({ autoDestroy: false }); // it closes with its response
      const { url, options, onResponse } = readArguments(protocol, args);
      this.#url = url;
      this.protocol = url.protocol;
      this.host = url.hostname;
      this.path = url.pathname + url.search;
      this.method = (options.method ?? 'GET').toUpperCase();
      for (const [name, value] of Object.entries(options.headers ?? {})) {
        if (value !== undefined) this.setHeader(name, value);
      }
      if (onResponse !== undefined) this.once('response', onResponse);
      if (options.timeout !== undefined) this.setTimeout(options.timeout);
      options.signal?.addEventListener('abort', () => this.destroy(options.signal?.reason as Error));
      process.nextTick(() => this.emit('socket', this.socket));
    }

    get aborted(): boolean {
      return this.destroyed;
    }

    setHeader(name: string, value: NonNullable<Headers[string]>): this {
      const text = Array.isArray(value) ? value.join(', ') : String(value);
      this.#headers.set(name.toLowerCase(), { name, value: text });
      return this;
    }

    getHeader(name: string): string | undefined {
      return this.#headers.get(name.toLowerCase())?.value;
    }

    getHeaders(): Record<string, string> {
      return Object.fromEntries([...this.#headers].map(([key, { value }]) => [key, value]));
    }

    getHeaderNames(): string[] {
      return [...this.#headers.keys()];
    }

    hasHeader(name: string): boolean {
      return this.#headers.has(name.toLowerCase());
    }

    removeHeader(name: string): void {
      this.#headers.delete(name.toLowerCase());
    }

    flushHeaders(): void {}
    setNoDelay(): void {}
    setSocketKeepAlive(): void {}

    setTimeout(ms: number, callback?: () => void): this {
      if (callback !== undefined) this.once('timeout', callback);
      clearTimeout(this.#timer);
      if (ms > 0) this.#timer = setTimeout(() => this.emit('timeout'), ms);
      return this;
    }

    abort(): void {
      this.destroy();
    }

    override _write(chunk: unknown, encoding: BufferEncoding, done: () => void): void {
      this.#begin(true);
      this.#onRoom = done;
      this.#body?.enqueue(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : (chunk as Uint8Array));
    }

    override _final(done: () => void): void {
      this.#begin(false);
      this.#body?.close();
      done();
    }

    override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
      clearTimeout(this.#timer);
      this.#controller.abort(error ?? undefined);
      done(error);
    }

    #begin(hasBody: boolean): void {
      if (this.#hasBegun) return;
      this.#hasBegun = true;
      const body = hasBody ? this.#createBody() : undefined;
      const headers = [...this.#headers.values()].map(({ name, value }): [string, string] => [name, value]);
      const { method } = this;
      const { signal } = this.#controller;
      fetch(this.#url, { method, headers, body, signal, redirect: 'manual', duplex: 'half' }).then(
        (response) => this.#respond(response),
        (error: unknown) => this.destroy(error as Error),
      );
    }

    /** As large as its reader is fast: `_write` is done when it asks for more. */
    #createBody(): ReadableStream<Uint8Array> {
      return new ReadableStream<Uint8Array>(
        {
          start: (controller) => void (this.#body = controller),
          pull: () => {
            const onRoom = this.#onRoom;
            this.#onRoom = undefined;
            onRoom?.();
          },
        },
        { highWaterMark: 1 },
      );
    }

    #respond(response: Response): void {
      clearTimeout(this.#timer);
      const message = new IncomingMessage(response, this.socket, this);
      this.res = message;
      message.once('close', () => this.destroy());
      // As in Node: what nobody listens for is not kept.
      if (!this.emit('response', message)) message.resume();
    }
  }

  /** What clients look at before they send anything. */
  function createSocket(): object {
    const self = (): object => socket;
    const socket: object = Object.assign(new EventEmitter(), {
      connecting: false,
      writable: true,
      encrypted: protocol === 'https:',
      authorized: protocol === 'https:',
      setKeepAlive: self,
      setNoDelay: self,
      setTimeout: self,
      ref: self,
      unref: self,
      destroy: self,
    });
    return socket;
  }
  return { IncomingMessage, ClientRequest };
}

function readArguments(protocol: string, [input, ...rest]: RequestArguments) {
  const onResponse = rest.find((value) => typeof value === 'function');
  const given = rest.find((value) => typeof value === 'object');
  if (typeof input === 'string' || input instanceof URL) {
    return { url: new URL(input), options: { ...given }, onResponse };
  }
  const options: RequestOptions = { ...input, ...given };
  const host = options.hostname ?? options.host ?? 'localhost';
  const authority = options.port === undefined || options.port === '' ? host : `${host}:${options.port}`;
  const url = new URL(`${options.protocol ?? protocol}//${authority}${options.path ?? '/'}`);
  if (options.auth === undefined) return { url, options, onResponse };
  const authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  return { url, options: { ...options, headers: { ...options.headers, authorization } }, onResponse };
}

function headersOf({ headers }: Response): Record<string, string | string[]> {
  const cookies = headers.getSetCookie();
  return { ...Object.fromEntries(headers), ...(cookies.length > 0 && { 'set-cookie': cookies }) };
}
