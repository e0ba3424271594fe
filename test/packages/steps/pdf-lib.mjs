import { PDFDocument, StandardFonts } from 'pdf-lib';
export default async () => {
  const document = await PDFDocument.create();
  document
    .addPage([200, 100])
    .drawText('Invoice', { font: await document.embedFont(StandardFonts.Helvetica) });
  const bytes = await document.save();
  return {
    head: Buffer.from(bytes.subarray(0, 5)).toString(),
    pages: (await PDFDocument.load(bytes)).getPageCount(),
  };
};
