import dayjs from 'dayjs';
import utc from 'dayjs/plugin/utc';
dayjs.extend(utc);
export default () => dayjs.utc('2024-02-28').add(2, 'day').format('YYYY-MM-DD');
