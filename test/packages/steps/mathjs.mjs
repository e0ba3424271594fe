import { evaluate, matrix, multiply } from 'mathjs';
export default () => ({
  value: evaluate('2 * (3 + 4)'),
  product: multiply(matrix([[1, 2]]), matrix([[3], [4]])).toArray(),
});
