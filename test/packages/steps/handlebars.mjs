import Handlebars from 'handlebars';
export default () => Handlebars.compile('Hello {{#each names}}{{this}} {{/each}}')({ names: ['<a>', 'b'] });
