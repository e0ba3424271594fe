import Joi from 'joi';
export default () => Joi.object({ a: Joi.number().min(2) }).validate({ a: 1 }).error.message;
