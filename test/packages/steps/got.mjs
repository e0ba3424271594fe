import got from 'got';
export default () => got.post('https://api.example.com/echo', { json: { a: 1 } }).json();
