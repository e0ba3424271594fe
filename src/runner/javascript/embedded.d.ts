/** Sources of other threads and contexts as text; worker/sandbox/rootfs/runner-bundle.ts puts them in. */
declare module 'embedded:slot' {
  const source: string;
  export default source;
}
declare module 'embedded:realm' {
  const source: string;
  export default source;
}
