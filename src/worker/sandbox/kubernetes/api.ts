import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { z } from '../../../core/zod.ts';

/** How long a token is used before its file is read again: the kubelet renews it well before its hour is over. */
const TOKEN_FOR_MS = 30_000;
const TIMEOUT_MS = 5000;
const KEEP_ALIVE_MS = 60_000;
const MAX_ANSWER_BYTES = 16_777_216;

/** Where a pod finds its own token, and the authority of the API server. */
export const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The API server refused, or could not do, what was asked. */
export class KubernetesError extends Error {
  override readonly name = 'KubernetesError';
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface KubernetesCall<T> {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** From the root, with its query. */
  readonly path: string;
  readonly body?: unknown;
  /** Of a PATCH. */
  readonly contentType?: string;
  /** What is needed of the answer. */
  readonly answer: z.ZodType<T>;
}

/** The API server of the cluster, as the service account of this pod. */
export interface KubernetesApi {
  /** @throws KubernetesError when it refuses; other errors when it cannot be asked, or answers something else */
  call<T>(call: KubernetesCall<T>): Promise<T>;
  /** Idempotent. */
  close(): Promise<void>;
}

const statusSchema = z.object({ message: z.string() });

/**
 * Six kinds of calls with typed answers: the official client brings along 60 packages, some of which make code from
 * strings.
 *
 * @param folder has `token` and `ca.crt`
 * @throws when they cannot be read
 */
export async function openKubernetesApi(options: {
  readonly host: string;
  readonly port: number;
  readonly folder: string;
}): Promise<KubernetesApi> {
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const origin = `https://${host}:${options.port}`;
  const ca = await readFile(join(options.folder, 'ca.crt'), 'utf8');
  const agent = new Agent({
    connect: { ca, timeout: TIMEOUT_MS },
    // A claim has no time for a handshake.
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    maxResponseSize: MAX_ANSWER_BYTES,
  });
  let token = { text: '', readAtMs: -Infinity };
  const currentToken = async (): Promise<string> => {
    if (performance.now() - token.readAtMs > TOKEN_FOR_MS) {
      const text = (await readFile(join(options.folder, 'token'), 'utf8')).trim();
      token = { text, readAtMs: performance.now() };
    }
    return token.text;
  };
  await currentToken();
  let closing: Promise<void> | undefined;

  return {
    async call({ method = 'GET', path, body, contentType = 'application/json', answer }) {
      const response = await request(`${origin}${path}`, {
        method,
        dispatcher: agent,
        headers: {
          accept: 'application/json',
          authorization: `Bearer ${await currentToken()}`,
          ...(body === undefined ? {} : { 'content-type': contentType }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.body.text();
      if (response.statusCode >= 300) throw new KubernetesError(response.statusCode, messageOf(text));
      return answer.parse(JSON.parse(text));
    },
    close: () => (closing ??= agent.close()),
  };
}

function messageOf(text: string): string {
  try {
    return statusSchema.parse(JSON.parse(text)).message;
  } catch {
    return text.slice(0, 200);
  }
}
