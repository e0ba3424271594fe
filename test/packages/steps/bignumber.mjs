import { BigNumber } from 'bignumber.js';
export default () => new BigNumber('0.1').plus('0.2').toString();
