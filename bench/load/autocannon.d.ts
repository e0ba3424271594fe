/** What the load generator uses of autocannon 9, which brings no types. */
declare module 'autocannon' {
  export interface AutocannonRequest {
    method?: string;
    body?: string | Buffer;
    headers?: Record<string, string>;
    setupRequest?: (request: AutocannonRequest) => AutocannonRequest;
  }
  export interface AutocannonOptions {
    url: string;
    connections: number;
    amount: number;
    /** Seconds. */
    timeout?: number;
    requests: AutocannonRequest[];
  }
  export interface AutocannonResult {
    readonly latency: { readonly p50: number; readonly p99: number; readonly max: number };
    readonly errors: number;
    readonly timeouts: number;
    readonly statusCodeStats: Readonly<Record<string, { readonly count: number }>>;
  }
  export interface AutocannonRun extends Promise<AutocannonResult> {
    on(event: 'response', listener: () => void): void;
  }
  export default function autocannon(options: AutocannonOptions): AutocannonRun;
}
