import { addDays, formatISO } from 'date-fns';
export default () => formatISO(addDays(new Date(Date.UTC(2024, 1, 28, 12)), 2), { representation: 'date' });
