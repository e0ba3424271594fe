// A program: tells on stdout what code steps would run in on this machine, with this environment, as JSON. `millrace doctor`
// runs it where no worker can be asked; opening a driver tests it, and closing it leaves nothing behind.
import { homedir } from 'node:os';
import { join } from 'node:path';
import { commonKeys } from '../../../core/config/keys.ts';
import { loadConfig } from '../../../core/config/load.ts';
import { sandboxKeys } from '../../../core/config/sandbox-keys.ts';
import { createLogger } from '../../../core/logger.ts';
import { openSandboxDriver } from '../open-driver.ts';

const config = loadConfig({ ENVIRONMENT: commonKeys.ENVIRONMENT, ...sandboxKeys }, process.env);
const driver = await openSandboxDriver({
  driver: config.SANDBOX_DRIVER,
  environment: config.ENVIRONMENT,
  cacheDirectory: join(config.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'millrace'),
  path: config.PATH,
  logger: createLogger({ level: 'silent', name: 'doctor' }),
  ...(config.MILLRACE_RUNSC !== undefined && { runscPath: config.MILLRACE_RUNSC }),
  ...(config.MILLRACE_RUNNER_ROOTFS !== undefined && { rootfs: config.MILLRACE_RUNNER_ROOTFS }),
  ...(config.SANDBOX_STATE_DIR !== undefined && { stateDirectory: config.SANDBOX_STATE_DIR }),
});
if (driver.description === undefined) {
  process.stdout.write(JSON.stringify({ driver: 'none', said: driver.reason, remedy: driver.remedy }));
} else {
  process.stdout.write(
    JSON.stringify({ driver: driver.description.driver, said: driver.description.isolation }),
  );
  await driver.close();
}
