import Ajv from 'ajv';
const validate = new Ajv().compile({
  type: 'object',
  required: ['id'],
  properties: { id: { type: 'integer' } },
});
export default () => [validate({ id: 1 }), validate({ id: 'x' }), validate.errors[0].message];
