import { DateTime } from 'luxon';
export default () => DateTime.fromISO('2024-02-28T12:00', { zone: 'Europe/Berlin' }).toUTC().toISO();
