-- What runs: the programs that are made of a version's files when it is saved, and the larger files themselves.

-- Contents by their hash, so that versions share what they have in common, wheels above all. Never changed once written.
create table workflow_file (
  tenant_id  uuid not null references tenant,
  sha256     bytea not null check (length(sha256) = 32),
  content    bytea not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, sha256)
);

-- By the step's file; the texts and wheels it names are in workflow_file.
alter table workflow_version add column programs json not null default '{}';

-- What a step's `resources` may ask for at most; null: as the installation is configured.
alter table tenant add column max_sandbox_memory_bytes bigint check (max_sandbox_memory_bytes > 0);
alter table tenant add column max_sandbox_cpus double precision check (max_sandbox_cpus > 0);

alter table workflow_file enable row level security;
alter table workflow_file force row level security;
create policy engine on workflow_file to millrace_engine using (true) with check (true);
create policy tenant on workflow_file to millrace_api
  using (tenant_id = millrace_tenant()) with check (tenant_id = millrace_tenant());

grant select, insert on workflow_file to millrace_api;
grant select on workflow_file to millrace_engine;
