-- The spine: tenants, workflows, endpoints, deliveries, executions, and their journal.
-- Range-partitioned tables are keyed by UUIDv7, so that a partition is a span of time (docs/decisions/0003).

-- Roles. Each connection does `set role` when it is opened; the login user is a member of all three.
-- Roles belong to the whole server, so another database's migration may have made them already.
do $$
declare r text;
begin
  foreach r in array array['millrace_api', 'millrace_ingest', 'millrace_engine'] loop
    if not exists (select from pg_roles where rolname = r) then
      begin
        execute format('create role %I nologin', r);
      exception when duplicate_object or unique_violation then
        null; -- another migrator was faster
      end;
    end if;
    begin
      execute format('grant %I to %I', r, current_user);
    exception when insufficient_privilege then
      if not pg_has_role(current_user, r, 'member') then raise; end if;
    end;
  end loop;
end $$;

-- The tenant that the current transaction of the API acts for; null outside of one, so that policies match nothing.
create function millrace_tenant() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('millrace.tenant', true), '')::uuid;

-- The smallest UUIDv7 of a moment: RFC 9562, section 5.7, with every random bit zero.
create function millrace_uuid7_floor(at timestamptz) returns uuid
  language sql immutable parallel safe
  return (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;

create table tenant (
  id         uuid primary key default gen_random_uuid(),
  name       text not null unique check (name ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' and length(name) <= 63),
  created_at timestamptz not null default now()
);
insert into tenant (name) values ('default');

create table api_key (
  id           uuid primary key default gen_random_uuid(),
  tenant_id    uuid not null references tenant,
  name         text not null,
  prefix       text not null,          -- the first characters, to tell keys apart
  hash         bytea not null unique,  -- SHA-256 of the key; the key itself is never stored
  role         text not null check (role in ('owner', 'admin', 'editor', 'viewer')),
  created_at   timestamptz not null default now(),
  expires_at   timestamptz,
  revoked_at   timestamptz
);
create index api_key_tenant on api_key (tenant_id, id);

create table credential (
  id         uuid primary key default gen_random_uuid(),
  tenant_id  uuid not null references tenant,
  name       text not null,
  type       text not null,
  key_id     text not null,     -- which ENCRYPTION_KEY sealed it
  sealed     bytea not null,    -- AES-256-GCM; see core/credentials/cipher.ts
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (tenant_id, name)
);

create table workflow (
  id              uuid primary key default gen_random_uuid(),
  tenant_id       uuid not null references tenant,
  name            text not null,
  enabled         boolean not null default true,
  current_version integer not null,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  deleted_at      timestamptz
);
create unique index workflow_name on workflow (tenant_id, name) where deleted_at is null;

create table workflow_version (
  workflow_id   uuid not null references workflow,
  version       integer not null check (version > 0),
  tenant_id     uuid not null references tenant,
  content_hash  text not null,
  format        smallint not null,          -- of `document`; an unknown one is left to a newer release
  source        text not null,              -- the YAML as it was sent
  document      json not null,              -- the same, parsed; `json` keeps \u0000 and the order of keys
  files         json not null default '{}',
  restored_from integer,
  created_at    timestamptz not null default now(),
  primary key (workflow_id, version)
);

create table endpoint (
  id           text primary key,            -- the unguessable part of the public URL
  tenant_id    uuid not null references tenant,
  workflow_id  uuid not null references workflow,
  trigger_name text not null,
  active       boolean not null default true,
  created_at   timestamptz not null default now(),
  unique (workflow_id, trigger_name)
);

-- The only place where a repeated delivery is recognised (FAULTS: never claimed in Redis).
-- `endpoint_id` is also `workflow:<id>` for the Idempotency-Key of a manual start.
create table delivery_key (
  endpoint_id  text not null,
  key          text not null,
  delivery_id  uuid,
  execution_id uuid not null,
  received_at  timestamptz not null default now(),
  primary key (endpoint_id, key)
);
create index delivery_key_received_at on delivery_key (received_at);

create table delivery (
  id           uuid not null primary key,
  tenant_id    uuid not null,
  workflow_id  uuid not null,
  endpoint_id  text not null,
  trigger_name text not null,
  verdict      text not null check (verdict in ('accepted', 'duplicate', 'filtered', 'rejected')),
  reason       text,
  method       text not null,
  query        text not null,               -- the raw query string
  headers      json not null,               -- without secret ones
  body         bytea,                       -- the raw bytes; null for duplicates, whose bytes the first one has
  body_size    integer not null,
  dedupe_key   text,
  duplicate_of uuid,
  root_id      uuid,                        -- of a replay: the first delivery of the chain
  replay_count integer not null default 0,  -- on a root: how many replays it has
  execution_id uuid,
  received_at  timestamptz not null default now()
) partition by range (id);
create index delivery_tenant on delivery (tenant_id, id);
create index delivery_workflow on delivery (workflow_id, id);

create table execution (
  id                  uuid not null primary key,
  tenant_id           uuid not null,
  workflow_id         uuid not null,
  version             integer not null,
  format              smallint not null,
  state               text not null check (state in ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled')),
  trigger_type        text not null,
  trigger_name        text not null,
  delivery_id         uuid,
  input               json,                 -- of a manual start
  retry_of            uuid,
  retry_from          text check (retry_from in ('failed', 'start')),
  traceparent         text,
  -- the right to act
  next_dispatch_at    timestamptz,          -- when a worker may (next) claim it; null once it has ended
  dispatch_number     integer not null default 0,
  lease_id            uuid,
  claimed_at          timestamptz,
  lost_leases         smallint not null default 0,
  active_ms           bigint not null default 0, -- time spent running in earlier leases; waiting does not count
  cancel_requested_at timestamptz,
  cancel_reason       text,
  -- the outcome
  response            json,                 -- what a `respond` step said
  output              json,
  error               json,
  created_at          timestamptz not null default now(),
  started_at          timestamptz,
  finished_at         timestamptz,
  check ((state in ('succeeded', 'failed', 'cancelled')) = (next_dispatch_at is null)),
  check ((state = 'running') = (lease_id is not null))
) partition by range (id);
-- Dispatch is fair between tenants, so a tenant's due rows are a range of this index.
create index execution_dispatch on execution (tenant_id, next_dispatch_at) where next_dispatch_at is not null;
create index execution_tenant on execution (tenant_id, id);
create index execution_workflow on execution (workflow_id, id);
create index execution_ended_badly on execution (tenant_id, state, id) where state in ('failed', 'cancelled');

-- The journal. `item` is the index within a forEach, -1 for the step itself.
create table step_run (
  execution_id uuid not null,
  step_id      text not null,
  item         integer not null default -1,
  attempt      integer not null,
  tenant_id    uuid not null,
  state        text not null check (state in ('running', 'succeeded', 'failed', 'skipped', 'cancelled')),
  input        json,
  output       json,
  error        json,
  retry_at     timestamptz,                 -- of a failed attempt that is to be repeated
  started_at   timestamptz,
  finished_at  timestamptz,
  primary key (execution_id, step_id, item, attempt)
) partition by range (execution_id);

create table step_log (
  execution_id uuid not null,
  step_id      text not null,
  item         integer not null default -1,
  attempt      integer not null,
  seq          integer not null,
  tenant_id    uuid not null,
  at           timestamptz not null,
  level        text not null check (level in ('debug', 'info', 'warn', 'error')),
  message      text not null,
  primary key (execution_id, step_id, item, attempt, seq)
) partition by range (execution_id);

create table delivery_default  partition of delivery  default;
create table execution_default partition of execution default;
create table step_run_default  partition of step_run  default;
create table step_log_default  partition of step_log  default;

-- Makes the daily partitions of all partitioned tables from `first` on, where they are missing; returns how many it made.
-- Runs with its owner's rights, so that the engine's role need not own tables.
create function millrace_ensure_partitions(first date, days integer) returns integer
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  parent text;
  day date;
  part text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('millrace_ensure_partitions'));
  for day in select first + n from generate_series(0, days - 1) n loop
    foreach parent in array array['delivery', 'execution', 'step_run', 'step_log'] loop
      part := parent || '_p' || to_char(day, 'YYYYMMDD');
      if to_regclass(part) is null then
        execute format('create table %I partition of %I for values from (%L) to (%L)', part, parent,
          millrace_uuid7_floor(day::timestamp at time zone 'utc'),
          millrace_uuid7_floor((day + 1)::timestamp at time zone 'utc'));
        made := made + 1;
      end if;
    end loop;
  end loop;
  return made;
end $$;
revoke all on function millrace_ensure_partitions from public;
grant execute on function millrace_ensure_partitions to millrace_engine;

-- Row-level security, forced: a query of the API without a tenant returns nothing.
do $$
declare t text;
begin
  foreach t in array array['tenant', 'api_key', 'credential', 'workflow', 'workflow_version', 'endpoint', 'delivery', 'execution', 'step_run', 'step_log'] loop
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy engine on %I to millrace_engine using (true) with check (true)', t);
    if t <> 'tenant' then
      execute format('create policy tenant on %I to millrace_api using (tenant_id = millrace_tenant()) with check (tenant_id = millrace_tenant())', t);
    end if;
  end loop;
  foreach t in array array['tenant', 'credential', 'workflow', 'workflow_version', 'endpoint', 'delivery', 'execution'] loop
    execute format('create policy ingest on %I to millrace_ingest using (true) with check (true)', t);
  end loop;
end $$;
create policy tenant on tenant to millrace_api using (id = millrace_tenant());
-- The key is what tells the tenant, so it is looked up by its hash before there is a tenant.
create policy by_hash on api_key for select to millrace_api
  using (hash = decode(nullif(current_setting('millrace.api_key_hash', true), ''), 'hex'));
-- delivery_key holds no tenant: its endpoint does. The API reaches it only for `workflow:<id>` keys of its own workflows.
alter table delivery_key enable row level security;
alter table delivery_key force row level security;
create policy engine on delivery_key to millrace_engine using (true) with check (true);
create policy ingest on delivery_key to millrace_ingest using (true) with check (true);
create policy tenant on delivery_key to millrace_api
  using (exists (select from workflow w where delivery_key.endpoint_id = 'workflow:' || w.id and w.tenant_id = millrace_tenant()));

grant select on tenant to millrace_api, millrace_ingest, millrace_engine;
grant select, insert, update on api_key to millrace_api;
grant select, insert, update, delete on credential to millrace_api;
grant select, insert, update on workflow, workflow_version, endpoint to millrace_api;
grant select, insert, update on delivery, execution, step_run, step_log, delivery_key to millrace_api;
grant select on credential, workflow, workflow_version, endpoint to millrace_ingest;
grant select, insert on delivery_key, delivery, execution to millrace_ingest;
grant select on credential, workflow, workflow_version, endpoint to millrace_engine;
grant select, insert, update, delete on delivery_key, delivery, execution, step_run, step_log to millrace_engine;
grant insert, select, update on tenant, api_key to millrace_engine;
-- To notice rows outside all dated partitions without a look at those.
grant select on delivery_default, execution_default to millrace_engine;
