-- Lists and counts that stay cheap over a long history, and the parts of it that are dropped.

-- What has not succeeded is rare, unless it is the backlog; so lists by state need no walk through what has.
-- The columns beside the keys are there for counts that read the index alone.
create index execution_not_succeeded on execution (tenant_id, state, id) include (workflow_id) where state <> 'succeeded';
drop index execution_ended_badly;
create index execution_workflow_ended_badly on execution (workflow_id, state, id) include (tenant_id)
  where state in ('failed', 'cancelled');
create index execution_of_workflow on execution (workflow_id, id) include (tenant_id);
drop index execution_workflow;
create index delivery_not_accepted on delivery (tenant_id, verdict, id) where verdict <> 'accepted';

-- The moment that an id was made for.
create function millrace_uuid7_time(id uuid) returns timestamptz
  language sql immutable parallel safe
  return to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0);

-- A partition spans as many days as retention asks for (docs/decisions/0007-retention.md), so bounds are read, not reckoned
-- from names. The default partition has none.
create view millrace_partition with (security_invoker = true) as
  select parent.relname::text as parent, part.relname::text as name, bound[1]::uuid as first_id, bound[2]::uuid as end_id,
    millrace_uuid7_time(bound[1]::uuid) as starts_at, millrace_uuid7_time(bound[2]::uuid) as ends_at
  from pg_inherits
  join pg_class parent on parent.oid = inhparent and parent.relkind = 'p'
  join pg_class part on part.oid = inhrelid
  cross join regexp_match(pg_get_expr(part.relpartbound, part.oid), $$FROM \('([0-9a-f-]{36})'\) TO \('([0-9a-f-]{36})'\)$$) as bound
  where parent.relname in ('delivery', 'execution', 'step_run', 'step_log')
    and parent.relnamespace = (select relnamespace from pg_class where oid = 'execution'::regclass) and bound is not null;

-- Makes the first partition of `parent` that `days` days from `first` on lack, of up to `span` days; null when none does, or
-- when another session is at it. One at a time, and attached: other statements pass, except for the moment in which the
-- default partition's bounds change. Runs with its owner's rights, so that the engine's role need not own tables.
create function millrace_add_partition(parent text, first date, days integer, span integer) returns text
  language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '100ms' as $$
declare
  day date := first;
  until date;
  part text;
begin
  if parent not in ('delivery', 'execution', 'step_run', 'step_log') then
    raise exception 'there are no partitions of %', parent;
  end if;
  if not pg_try_advisory_xact_lock(hashtext('millrace_partitions'), hashtext(parent)) then return null; end if;
  loop
    if day >= first + days then return null; end if;
    select (p.ends_at at time zone 'utc')::date into until from millrace_partition p
      where p.parent = millrace_add_partition.parent
        and millrace_uuid7_floor(day::timestamp at time zone 'utc') between p.first_id and p.end_id
      order by p.ends_at desc limit 1;
    exit when until is null or until <= day;
    day := until;
  end loop;
  select least(day + span, min((p.starts_at at time zone 'utc')::date)) into until
    from millrace_partition p
    where p.parent = millrace_add_partition.parent and p.first_id > millrace_uuid7_floor(day::timestamp at time zone 'utc');
  part := parent || '_p' || to_char(day, 'YYYYMMDD');
  execute format('create table %I (like %I including all)', part, parent);
  execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, part,
    millrace_uuid7_floor(day::timestamp at time zone 'utc'), millrace_uuid7_floor(until::timestamp at time zone 'utc'));
  return part;
end $$;

-- Drops a partition whose range ended before `before`, unless something in it has not ended: checked while nobody else can
-- write to it. One at a time, each in a transaction of its own, and not for long: whoever comes while it waits for its lock
-- waits as well.
create function millrace_drop_partition(part text, before timestamptz) returns boolean
  language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '100ms' as $$
declare
  parent text;
  has_live boolean := false;
begin
  select p.parent into parent from millrace_partition p where p.name = part and p.ends_at <= before;
  if parent is null then return false; end if;
  execute format('lock table %I in access exclusive mode', parent);
  if parent = 'execution' then
    -- Past row-level security, which partitions do not have themselves.
    execute format('select exists (select from %I where next_dispatch_at is not null)', part) into has_live;
  end if;
  if has_live then return false; end if;
  execute format('drop table %I', part);
  return true;
end $$;

-- As before, for all tables, in one transaction: when nothing else goes on. Five days: a sixth of 30, the default of RETENTION.
create or replace function millrace_ensure_partitions(first date, days integer) returns integer
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  parent text;
  made integer := 0;
begin
  foreach parent in array array['delivery', 'execution', 'step_run', 'step_log'] loop
    perform pg_advisory_xact_lock(hashtext('millrace_partitions'), hashtext(parent));
    while millrace_add_partition(parent, first, days, 5) is not null loop made := made + 1; end loop;
  end loop;
  return made;
end $$;

revoke all on function millrace_add_partition, millrace_drop_partition from public;
grant execute on function millrace_add_partition, millrace_drop_partition to millrace_engine;
grant select on millrace_partition to millrace_engine;

-- What a workflow leaves that was deleted long ago and has no history any more.
grant delete on workflow, workflow_version, endpoint, workflow_file to millrace_engine;
