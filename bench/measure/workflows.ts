import { CREDENTIAL } from '../platform/installation.ts';

const webhook = (respond: 'accepted' | 'result' = 'accepted'): string =>
  `  in:
    webhook:
      verify: { scheme: github, credential: ${CREDENTIAL} }
      respond: ${respond}
`;

/** Three steps without outside effect, each with expressions over the request or the step before. */
export const transformWorkflow = (respond: 'accepted' | 'result' = 'accepted'): string => `
name: transform-${respond}
triggers:
${webhook(respond)}
steps:
  - id: pick
    transform:
      branch: \${{ trigger.body.ref.substring(11) }}
      repository: \${{ trigger.body.repository.full_name }}
      number: \${{ trigger.body.number }}
  - id: reckon
    needs: [pick]
    transform:
      doubled: \${{ steps.pick.output.number * 2 }}
      large: \${{ steps.pick.output.number > 500 }}
  - id: shape
    needs: [reckon]
    transform:
      text: \${{ steps.pick.output.repository }} on \${{ steps.pick.output.branch }}
      doubled: \${{ steps.reckon.output.doubled }}
output: steps.shape.output
`;

/** A chain of calls to `url`, each of which has an outside effect and so a commit of its own. */
export const httpWorkflow = (url: string, steps: number): string => `
name: http-${steps}
triggers:
${webhook()}
  by-hand:
    manual: {}
steps:
${Array.from(
  { length: steps },
  (_, index) => `  - id: call${index}
${index === 0 ? '' : `    needs: [call${index - 1}]\n`}    http:
      method: POST
      url: ${url}
      body: { number: ${index}, execution: "\${{ execution.id }}", trigger: "\${{ trigger.type }}" }
`,
).join('')}output: steps.call${steps - 1}.output.status
`;

const CHAINED = 400;
const LISTED = 600;
/** Outcomes in the journal of {@link resumeWorkflow} when it waits. */
export const RESUME_OUTCOMES = CHAINED + LISTED;
/** In the end: the wait and the last step, too. */
export const RESUME_STEPS = RESUME_OUTCOMES + 2;

/** A thousand outcomes, then a wait, then one more step. */
export const resumeWorkflow = (wait: string): string => `
name: resume
triggers:
  by-hand:
    manual: {}
steps:
${Array.from(
  { length: CHAINED },
  (_, index) => `  - id: step${index}
${index === 0 ? '' : `    needs: [step${index - 1}]\n`}    transform: { number: ${index}, name: "step \${{ execution.id }}" }
`,
).join('')}  - id: items
    needs: [step${CHAINED - 1}]
    forEach: [${Array.from({ length: LISTED }, (_, index) => index).join(', ')}]
    transform: { number: "\${{ item * 2 }}", name: "item \${{ execution.id }}" }
  - id: pause
    needs: [items]
    wait: ${wait}
  - id: last
    needs: [pause]
    transform: { first: "\${{ steps.step0.output.name }}", count: "\${{ size(steps.items.output) }}" }
output: steps.last.output
`;
