import { Launcher } from './launcher-service.ts';
import type { ToLauncher } from './launcher-messages.ts';

/**
 * The process that starts and removes containers for one worker. It runs in a session of its own, so that whatever kills
 * the worker, or the worker's whole process group, leaves it to clean up: it learns of the worker's end from the pipe between them.
 */
const launcher = new Launcher((message, socket) => {
  // Where there is nobody to tell any more, 'disconnect' says so.
  if (process.connected) process.send?.(message, socket, {}, () => undefined);
});

// The worker alone decides when this ends; a terminal's or a supervisor's signals are meant for the worker.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

process.on('message', (message) => launcher.receive(message as ToLauncher));
const leave = (): void => void launcher.stop().finally(() => process.exit(0));
process.on('disconnect', leave);
// The worker holds the other end and writes nothing. 'disconnect' is not enough: Node holds it back for as long as a
// socket that was sent has not been acknowledged, which a dead worker never does.
process.stdin.on('end', leave).on('error', leave).resume();
