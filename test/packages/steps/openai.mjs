import OpenAI from 'openai';
export default async () => {
  const client = new OpenAI({ apiKey: 'k', maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model: 'm',
    messages: [{ role: 'user', content: 'hi' }],
    stream: true,
  });
  let text = '';
  for await (const { choices } of stream) text += choices[0].delta.content;
  return text;
};
