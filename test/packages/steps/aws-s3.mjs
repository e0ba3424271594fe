import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
export default async () => {
  const client = new S3Client({
    region: 'eu-central-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
  });
  await client.send(new PutObjectCommand({ Bucket: 'b', Key: 'k.txt', Body: 'content' }));
  const { Body } = await client.send(new GetObjectCommand({ Bucket: 'b', Key: 'k.txt' }));
  const { Contents } = await client.send(new ListObjectsV2Command({ Bucket: 'b' }));
  return { body: await Body.transformToString(), keys: Contents.map(({ Key }) => Key) };
};
