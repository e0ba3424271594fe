import * as cheerio from 'cheerio';
export default () =>
  cheerio
    .load('<ul><li>one</li><li>two</li></ul>')('li')
    .map((_, li) => cheerio.load(li).text())
    .get();
