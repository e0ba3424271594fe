import { groupBy, map, pipe } from 'ramda';
export default () =>
  pipe(
    groupBy((n) => (n % 2 ? 'odd' : 'even')),
    map((list) => list.length),
  )([1, 2, 3]);
