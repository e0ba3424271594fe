const LENGTHS: readonly string[] = ['short', 'long'];

const asked = process.env['FAULTS_LENGTH'] || 'short';
if (!LENGTHS.includes(asked))
  throw new Error(`FAULTS_LENGTH must be ${LENGTHS.join(' or ')}, got ${JSON.stringify(asked)}.`);

/** `short` for the run of every commit; `long` with `FAULTS_LENGTH=long`: the numbers of the specification, for an hour. */
export const byLength = (short: number, long: number): number => (asked === 'long' ? long : short);
