import type { Attack } from './attack.ts';
import { BROKER_ATTACKS } from './broker.ts';
import { EXHAUSTION_ATTACKS } from './exhaustion.ts';
import { HOST_ATTACKS } from './host.ts';
import { LEFTOVER_ATTACKS } from './leftovers.ts';
import { FETCH_ATTACKS, NETWORK_ATTACKS } from './network.ts';
import { FLOOD_ATTACKS, RESULT_ATTACKS } from './output.ts';
import { PROCESS_ATTACKS } from './processes.ts';
import { PROTOCOL_ATTACKS } from './protocol.ts';
import { TIME_ATTACKS } from './time.ts';

/** Everything that one step can do: what the mix of hostile and good steps draws from. */
export const ATTACKS: readonly Attack[] = [
  ...HOST_ATTACKS,
  ...EXHAUSTION_ATTACKS,
  ...TIME_ATTACKS,
  ...FLOOD_ATTACKS,
  ...RESULT_ATTACKS,
  ...PROTOCOL_ATTACKS,
  ...NETWORK_ATTACKS,
  ...FETCH_ATTACKS,
  ...BROKER_ATTACKS,
  ...PROCESS_ATTACKS,
  ...LEFTOVER_ATTACKS.map((attack) => ({
    ...attack,
    input: () => ({ mode: 'leave', marker: 'left-by-somebody' }),
  })),
];

/** Leaves out what takes long by its nature, or takes all that the machine has for long. */
export const MIXED_ATTACKS: readonly Attack[] = ATTACKS.filter(
  ({ row, name }) =>
    !['X11', 'X12'].includes(row) &&
    !/10\^6 files|1 GB of|descriptors 1 and 2|no error for an answer/.test(name),
);
