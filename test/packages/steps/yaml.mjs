import YAML from 'yaml';
export default () => ({ parsed: YAML.parse('a: [1, {b: 2}]'), text: YAML.stringify({ x: ['y'] }) });
