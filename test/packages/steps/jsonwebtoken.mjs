import jwt from 'jsonwebtoken';
export default () => jwt.verify(jwt.sign({ sub: 'me' }, 'secret', { noTimestamp: true }), 'secret');
