import validator from 'validator';
export default () => [validator.isEmail('a@example.com'), validator.isURL('nope')];
