/** The values of a text that has one as JSON in each line, such as the log of an execution. */
export const parseJsonLines = (text: string): readonly unknown[] =>
  text
    .split('\n')
    .filter((line) => line !== '')
    .map((line): unknown => JSON.parse(line));
