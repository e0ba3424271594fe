import { Decimal } from 'decimal.js';
export default () => new Decimal(2).sqrt().toFixed(10);
