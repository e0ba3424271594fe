import { marked } from 'marked';
export default () => marked.parse('# Title');
