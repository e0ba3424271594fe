import qs from 'qs';
export default () => qs.stringify(qs.parse('a[b][]=1&a[b][]=2'), { encode: false });
