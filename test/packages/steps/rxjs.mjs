import { delay, from, lastValueFrom, map, toArray } from 'rxjs';
export default () =>
  lastValueFrom(
    from([1, 2]).pipe(
      map((n) => n * 2),
      delay(1),
      toArray(),
    ),
  );
