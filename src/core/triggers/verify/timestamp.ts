/**
 * Why a signed timestamp is not acceptable, if it is not. Unix seconds in ten digits are the only form taken:
 * `Number()` and `parseInt` would also read `1e9`, milliseconds or `1614265330abc` (SECURITY W07).
 */
export function timestampProblem(text: string, nowMs: number, toleranceS: number): string | undefined {
  if (!/^[0-9]{10}$/.test(text)) return 'the timestamp is not Unix time in seconds';
  const ageS = Math.floor(nowMs / 1000) - Number(text);
  if (ageS > toleranceS) return `the timestamp is more than ${toleranceS} s old`;
  if (ageS < -toleranceS) return `the timestamp is more than ${toleranceS} s in the future`;
  return undefined;
}
