/** Something large that comes in parts. */
export interface Assembly {
  push(part: Uint8Array): void;
}

/** @param onWhole called once, when all `bytes` of it have come; what is more than that is ignored */
export function createAssembly(bytes: number, onWhole: (whole: Uint8Array) => void): Assembly {
  const whole = new Uint8Array(bytes);
  let filled = 0;
  let isWhole = false;
  return {
    push(part) {
      if (isWhole) return;
      const taken = part.subarray(0, bytes - filled);
      whole.set(taken, filled);
      filled += taken.length;
      if (filled < bytes) return;
      isWhole = true;
      onWhole(whole);
    },
  };
}
