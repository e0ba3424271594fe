/** Documents for tests. A label, and the YAML. */
type Labelled = readonly (readonly [string, string])[];

const MANUAL = 'triggers: { go: { manual: {} } }';
const step = (text: string): string => `name: w\n${MANUAL}\nsteps:\n${text}`;

export const FULL = `
name: order-intake
description: Takes in orders
triggers:
  orders:
    webhook:
      verify: { scheme: stripe, credential: stripe-webhook }
      filter: body.type.startsWith("order.")
      respond: result
      wait: 20s
      dedupe: { key: 'body.id + ":" + headers["x-shop"]' }
  by-hand: { manual: {} }
timeout: 2h
config: { region: eu, limits: [1, 2.5, null] }
inputSchema: { type: object, required: [customer] }
steps:
  - id: customer
    name: Fetch the customer
    http:
      url: crm:/customers/\${{ trigger.body.customer }}
      headers: { accept: application/json, x-try: 1 }
      query: { expand: [orders, notes], page: 2 }
      okStatus: [404, 5xx, 410-412]
      followRedirects: false
      maxResponseBytes: 65536
    retry: { attempts: 5, backoff: exponential, initial: 1s, max: 1m }
    timeout: 10s
  - id: each_order
    needs: [customer]
    forEach: steps.customer.output.body.orders
    parallelism: 4
    if: steps.customer.output.status == 200
    input: { id: "\${{ item.id }}", at: "\${{ index }}" }
    transform: { label: "order \${{ item.id }} in \${{ config.region }}", n: "\${{ index + 1 }}" }
    continueOnError: true
  - id: pause
    needs: [{ step: each_order, when: always }]
    wait: 5m
  - id: until-due
    needs: [pause]
    wait: { until: "\${{ trigger.body.due }}" }
  - id: charge
    needs: [until-due]
    atMostOnce: true
    http: { method: POST, url: "https://pay.example.com/charge", credential: pay, body: { order: "\${{ steps.each_order.output }}" } }
  - id: answer
    needs: [charge, { step: pause, when: success }]
    respond: { status: 201, headers: { x-id: "\${{ execution.id }}" }, body: "\${{ steps.charge.output.body }}" }
output: { paid: "\${{ steps.charge.state }}", due: "\${{ steps['until-due'].output }}" }
`;

export const GOOD_DOCUMENTS: Labelled = [
  ['a document that uses everything', FULL],
  ['the least there is', step('  - { id: a, transform: "1" }')],
  ['JSON', '{"name":"w","triggers":{"go":{"manual":{}}},"steps":[{"id":"a","wait":"1s"}]}'],
  [
    'every scheme',
    `name: w
triggers:
  a: { webhook: { verify: { scheme: none }, dedupe: false } }
  b: { webhook: { verify: { scheme: github, credential: x } } }
  c: { webhook: { verify: { scheme: stripe, credential: x } } }
  d: { webhook: { verify: { scheme: slack, credential: x }, dedupe: { header: X-Id } } }
  e: { webhook: { verify: { scheme: standard-webhooks, credential: x } } }
  f: { webhook: { verify: { scheme: hmac, credential: x, header: X-Signature } } }
steps: [{ id: a, transform: [1, "\${{ trigger.name }}"] }]`,
  ],
  ['a constant condition', step('  - { id: a, if: false, transform: "1" }')],
  ['a list to go over', step('  - { id: a, forEach: [1, "${{ trigger.body }}"], transform: item }')],
  [
    'a list of delays',
    step('  - { id: a, retry: { backoff: [1s, 10s] }, http: { url: "http://example.com" } }'),
  ],
  [
    'fixed delays',
    step('  - { id: a, retry: { backoff: fixed, initial: 5s }, http: { url: "http://example.com" } }'),
  ],
  ['a URL made of data', step('  - { id: a, http: { url: "${{ trigger.body.url }}" } }')],
  [
    'code',
    step(
      '  - { id: a, code: steps/a.ts, egress: [api.example.com, "*.example.org", "db.example.com:8443"], credentials: [crm], secrets: [k], isolation: execution, resources: { cpu: 0.5, memory: 512Mi } }\n  - { id: b, forEach: [1], code: b.py, isolation: process, resources: { cpu: 500m, memory: 268435456 } }',
    ),
  ],
  [
    'a notebook and a container',
    step(
      '  - { id: a, notebook: analysis/a.ipynb, input: "${{ trigger.body }}", egress: [] }\n  - { id: b, container: { image: "ghcr.io/acme/tool:1.2", command: [run, 1], args: ["${{ trigger.body.x }}"], env: { A: "${{ trigger.name }}", B: 2 } }, secrets: [k], resources: { memory: 1Gi } }',
    ),
  ],
  [
    'a request that may go to some hosts',
    step('  - { id: a, http: { url: "https://example.com" }, egress: [example.com] }'),
  ],
  [
    'waits',
    step('  - { id: a, wait: { for: 30s } }\n  - { id: b, wait: { until: "2030-01-31T08:00:00+01:00" } }'),
  ],
  [
    'upper case and underscores in ids',
    step(
      '  - { id: fetchAll, transform: "1" }\n  - { id: b_2, needs: [fetchAll], transform: steps.fetchAll.output }',
    ),
  ],
  [
    'keys that are names of Object.prototype',
    step('  - { id: constructor, transform: { toString: "1", valueOf: [] } }'),
  ],
];

/** Shapes that an editor can mark without knowing expressions. */
export const BAD_SHAPES: Labelled = [
  ['a list', '[]'],
  ['an unknown key', `${step('  - { id: a, transform: "1" }')}\nfoo: 1`],
  ['a step without a kind', step('  - { id: a }')],
  ['a step with two kinds', step('  - { id: a, transform: "1", wait: 1s }')],
  ['a kind of a later release', step('  - { id: a, llm: {} }')],
  ['code in another language', step('  - { id: a, code: a.rb }')],
  ['code outside of the workflow', step('  - { id: a, code: ../a.ts }')],
  ['an image that is none', step('  - { id: a, container: { image: "a b" } }')],
  ['a key of another kind', step('  - { id: a, transform: "1", egress: [] }')],
  ['memory in no known unit', step('  - { id: a, code: a.py, resources: { memory: 5MB } }')],
  ['a bad id', step('  - { id: "a b", transform: "1" }')],
  ['a bad duration', step('  - { id: a, timeout: 5, transform: "1" }')],
  ['no triggers', 'name: w\nsteps: [{ id: a, transform: "1" }]'],
  ['no verify', 'name: w\ntriggers: { a: { webhook: {} } }\nsteps: [{ id: a, transform: "1" }]'],
  ['no steps', `name: w\n${MANUAL}\nsteps: []`],
];
