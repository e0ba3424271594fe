// In place of the JavaScript runner: evaluates what each line says and answers with a line of JSON.
const decoder = new TextDecoder();
const encoder = new TextEncoder();
const say = (value) => Deno.stdout.write(encoder.encode(`${JSON.stringify(value)}\n`));

await Deno.stdout.write(encoder.encode('ready\n'));
let pending = '';
for await (const chunk of Deno.stdin.readable) {
  pending += decoder.decode(chunk, { stream: true });
  const lines = pending.split('\n');
  pending = lines.pop();
  for (const line of lines) {
    try {
      const module = `export default await (${JSON.parse(line)});`;
      await say({ value: (await import(`data:text/javascript,${encodeURIComponent(module)}`)).default });
    } catch (error) {
      await say({ error: `${error.name}: ${error.message}` });
    }
  }
}
