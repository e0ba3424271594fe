import type { Runtime } from '../driver.ts';

/** What worker and manifests (deployments/kubernetes/base/runner) have to agree on. */

/** Whom the gateway's certificate is for. No public authority vouches for names below `internal`. */
export const SERVER_NAME = 'gateway.millrace.internal';
/** Of the token that runners show. */
export const AUDIENCE = 'millrace-runner';
export const RUNTIME_CLASS = 'gvisor';
export const RUNNER_SERVICE_ACCOUNT = 'runner';
/** In a runner's pod: the container that runs code. */
export const RUNNER_CONTAINER = 'runner';
/** The volume of that container for Python packages. */
export const PACKAGES_INSIDE = '/packages';
/** The ConfigMap from which runners learn where to dial and whom to trust, and its keys. */
export const GATEWAY_CONFIG_MAP = 'runner-gateway';
export const ADDRESS_KEY = 'address';
export const AUTHORITIES_KEY = 'ca.crt';
/** The port of the gateway in its Service. */
export const GATEWAY_PORT_NAME = 'gateway';
/** In the Secret of the gateway. */
export const CERTIFICATES_KEY = 'certificates.json';
/** Of pods that wait to be claimed: the runtime of their Deployment, which selects by it, or `cold`. */
export const POOL_LABEL = 'millrace.dev/pool';
export const COLD = 'cold';
/** Of pods that were made for one program of an image, until it is sent there. */
export const IMAGE_POOL = 'image';
/** Of pods that were claimed: the worker's pod. */
export const CLAIMED_LABEL = 'millrace.dev/claimed-by';

/** The PodTemplate of pods that run a program of an image. */
export const IMAGE_TEMPLATE = 'container-step';

/** An annotation of such a pod: the step of the execution that it was made for. */
export const STEP_ANNOTATION = 'millrace.dev/step';

/** The Deployments that keep runners ready; cold ones are made like theirs. */
export const POOLS: Readonly<Record<Runtime, string>> = {
  javascript: 'runner-warm-pool',
  python: 'runner-warm-pool-python',
};
