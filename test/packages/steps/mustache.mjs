import Mustache from 'mustache';
export default () => Mustache.render('Hello {{name}}', { name: 'you' });
