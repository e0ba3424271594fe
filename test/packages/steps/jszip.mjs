import JSZip from 'jszip';
export default async () => {
  const zip = new JSZip();
  zip.file('a.txt', 'content');
  const bytes = await zip.generateAsync({ type: 'uint8array', compression: 'DEFLATE' });
  return (await JSZip.loadAsync(bytes)).file('a.txt').async('string');
};
