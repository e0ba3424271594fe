import slugify from 'slugify';
export default () => slugify('Äpfel & Birnen', { lower: true });
