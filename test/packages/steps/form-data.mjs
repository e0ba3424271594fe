import FormDataPackage from 'form-data';
export default async () => {
  const form = new FormDataPackage();
  form.append('name', 'value');
  const { body } = await (await fetch('https://api.example.com/echo', { method: 'POST', body: form })).json();
  return /name="name"\r\n\r\nvalue/.test(body);
};
