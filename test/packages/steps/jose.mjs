import * as jose from 'jose';
export default async () => {
  const secret = new TextEncoder().encode('a secret of at least thirty-two bytes');
  const token = await new jose.SignJWT({ sub: 'me' }).setProtectedHeader({ alg: 'HS256' }).sign(secret);
  const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
  const signed = await new jose.SignJWT({ n: 1 }).setProtectedHeader({ alg: 'ES256' }).sign(privateKey);
  return [(await jose.jwtVerify(token, secret)).payload, (await jose.jwtVerify(signed, publicKey)).payload];
};
