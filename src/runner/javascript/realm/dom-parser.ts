/**
 * As much of `DOMParser` as clients read XML answers with (the AWS SDK's build for browsers has no other way): elements,
 * attributes, text; no namespaces, no validation, no HTML.
 */
interface Attribute {
  readonly name: string;
  readonly value: string;
}

class XmlNode {
  static readonly ELEMENT_NODE = 1;
  static readonly TEXT_NODE = 3;
  static readonly DOCUMENT_NODE = 9;
  readonly nodeType: number;
  readonly nodeName: string;
  readonly attributes: readonly Attribute[];
  readonly childNodes: XmlNode[] = [];
  readonly #text: string;

  constructor(nodeType: number, nodeName: string, attributes: readonly Attribute[] = [], text = '') {
    this.nodeType = nodeType;
    this.nodeName = nodeName;
    this.attributes = attributes;
    this.#text = text;
  }

  get textContent(): string {
    return this.#text + this.childNodes.map((child) => child.textContent).join('');
  }

  get tagName(): string {
    return this.nodeName;
  }

  get documentElement(): XmlNode | null {
    return this.childNodes.find(({ nodeType }) => nodeType === XmlNode.ELEMENT_NODE) ?? null;
  }

  getAttribute(wanted: string): string | null {
    return this.attributes.find(({ name }) => name === wanted)?.value ?? null;
  }

  getElementsByTagName(name: string): XmlNode[] {
    return this.childNodes.flatMap((child) => [
      ...(child.nodeType === XmlNode.ELEMENT_NODE && (name === '*' || child.nodeName === name)
        ? [child]
        : []),
      ...child.getElementsByTagName(name),
    ]);
  }
}

const TOKEN =
  /<!--[\s\S]*?-->|<\?[\s\S]*?\?>|<!\[CDATA\[([\s\S]*?)\]\]>|<!DOCTYPE[^>[]*>|<\/([^\s>]+)\s*>|<([^\s/>!?]+)((?:\s+[^\s=>]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(\/?)>|([^<]+)/gy;
const ATTRIBUTE = /([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g;
const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

class XmlSyntaxError extends Error {}

function parse(text: string): XmlNode {
  const document = new XmlNode(XmlNode.DOCUMENT_NODE, '#document');
  const open = [document];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const at = TOKEN.lastIndex;
    const token = TOKEN.exec(text);
    const parent = open.at(-1);
    if (token === null || parent === undefined) throw new XmlSyntaxError(`no XML at character ${at}`);
    const [, data, closed, opened, attributes = '', selfClosed, characters] = token;
    if (closed !== undefined) {
      if (parent.nodeName !== closed)
        throw new XmlSyntaxError(`</${closed}> does not close <${parent.nodeName}>`);
      open.pop();
    } else if (opened !== undefined) {
      const element = new XmlNode(XmlNode.ELEMENT_NODE, opened, parseAttributes(attributes));
      parent.childNodes.push(element);
      if (selfClosed === '') open.push(element);
    } else if (data !== undefined || characters !== undefined) {
      const content = data ?? decode(characters ?? '');
      if (parent !== document) parent.childNodes.push(new XmlNode(XmlNode.TEXT_NODE, '#text', [], content));
      else if (content.trim() !== '') throw new XmlSyntaxError('text outside of the root element');
    }
  }
  if (open.length > 1 || document.documentElement === null)
    throw new XmlSyntaxError('the document is not complete');
  return document;
}

const parseAttributes = (text: string): Attribute[] =>
  [...text.matchAll(ATTRIBUTE)].map(([, name = '', double, single]) => ({
    name,
    value: decode(double ?? single ?? ''),
  }));

const decode = (text: string): string =>
  text.replace(/&(?:#x([\da-f]+)|#(\d+)|(\w+));/gi, (whole, hex?: string, decimal?: string, name = '') => {
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    return ENTITIES[String(name)] ?? whole;
  });

class DOMParser {
  parseFromString(text: string, type: string): XmlNode {
    if (!/xml/.test(type)) throw new TypeError(`this DOMParser reads XML, not ${type}`);
    try {
      return parse(text);
    } catch (error) {
      const document = new XmlNode(XmlNode.DOCUMENT_NODE, '#document');
      const problem = new XmlNode(XmlNode.ELEMENT_NODE, 'parsererror');
      problem.childNodes.push(new XmlNode(XmlNode.TEXT_NODE, '#text', [], (error as Error).message));
      document.childNodes.push(problem);
      return document;
    }
  }
}

export const DOM_GLOBALS = { DOMParser, Node: XmlNode };
