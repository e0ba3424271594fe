import _ from 'lodash';
export default () => _.merge({ a: { b: 1 } }, { a: { c: _.chunk([1, 2, 3], 2) } });
