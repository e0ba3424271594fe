import { XMLBuilder, XMLParser } from 'fast-xml-parser';
export default () => new XMLBuilder().build(new XMLParser().parse('<a><b>1</b></a>'));
