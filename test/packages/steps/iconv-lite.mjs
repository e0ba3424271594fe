import iconv from 'iconv-lite';
export default () => [...iconv.encode('é€', 'win1252')];
