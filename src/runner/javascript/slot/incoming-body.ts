import { BODY_WINDOW_BYTES } from '../limits.ts';

/** More is asked for in portions of this, so that not each small read costs a frame. */
const CREDIT_BYTES = BODY_WINDOW_BYTES / 4;

export interface IncomingBody {
  readonly stream: ReadableStream<Uint8Array>;
  push(bytes: Uint8Array): void;
  end(): void;
  fail(reason: unknown): void;
}

/** A response's body, which holds no more than its window: the next bytes are asked for when the code has read some. */
export function createIncomingBody(on: {
  readonly onCredit: (bytes: number) => void;
  readonly onCancel: (reason: unknown) => void;
}): IncomingBody {
  const chunks: Uint8Array[] = [];
  let read = 0;
  let hasEnded = false;
  let failure: { readonly reason: unknown } | undefined;
  let wake: (() => void) | undefined;

  const awaken = (): void => {
    wake?.();
    wake = undefined;
  };
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    if (chunks.length === 0 && !hasEnded && failure === undefined) {
      await new Promise<void>((resolve) => (wake = resolve));
    }
    const chunk = chunks.shift();
    if (chunk !== undefined) {
      controller.enqueue(chunk);
      read += chunk.length;
      if (read >= CREDIT_BYTES && !hasEnded) {
        on.onCredit(read);
        read = 0;
      }
    } else if (failure !== undefined) controller.error(failure.reason);
    else controller.close();
  };
  return {
    stream: new ReadableStream<Uint8Array>(
      {
        pull,
        cancel(reason) {
          chunks.length = 0;
          on.onCancel(reason);
        },
      },
      // Nothing is taken before it is read: what is here counts against the window.
      { highWaterMark: 0 },
    ),
    push(bytes) {
      if (bytes.length > 0) chunks.push(bytes);
      awaken();
    },
    end() {
      hasEnded = true;
      awaken();
    },
    fail(reason) {
      failure = { reason };
      chunks.length = 0;
      awaken();
    },
  };
}
