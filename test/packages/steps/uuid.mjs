import { v4, v5, validate } from 'uuid';
export default () => ({ valid: validate(v4()), v5: v5('a', v5.URL) });
