import { Redis } from 'ioredis';

/** As the prototype has it, without the object that it is called on. */
type SendCommand = (this: Redis, ...args: Parameters<Redis['sendCommand']>) => unknown;

/**
 * Has the first command of a pipeline instrumented alone, once `instrument` has changed ioredis. They leave in one packet, so
 * the others tell nothing more, and a batch of hints below one recorded span would make spans of all of them.
 * @returns what puts ioredis back to how `instrument` left it
 */
export function instrumentFirstOfPipelines(instrument: () => void): () => void {
  const prototype: { sendCommand: SendCommand } = Redis.prototype;
  const plain = prototype.sendCommand;
  instrument();
  const instrumented = prototype.sendCommand;
  const sendCommand: SendCommand = function (command, stream) {
    const send = (command.pipelineIndex ?? 0) > 0 ? plain : instrumented;
    return send.call(this, command, stream);
  };
  prototype.sendCommand = sendCommand;
  return () => {
    prototype.sendCommand = instrumented;
  };
}
