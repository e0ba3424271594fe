-- As before, but the primary key is made last. While PostgreSQL takes a partition for tiny, all indexes that have the key among
-- their columns cost the same to it, and of those it takes the newest: looking a row up by its id, it would skip through
-- an index that begins with the workflow, once for each workflow.
create or replace function millrace_add_partition(parent text, first date, days integer, span integer) returns text
  language plpgsql security definer set search_path = public, pg_temp set lock_timeout = '100ms' as $$
declare
  day date := first;
  until date;
  stray_id uuid;
  stray_day date;
  part text;
  key record;
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
    if until is null or until <= day then
      execute format('select %1$I from %2$I where %1$I >= $1 order by %1$I limit 1',
        case when parent in ('delivery', 'execution') then 'id' else 'execution_id' end, parent || '_default')
        into stray_id using millrace_uuid7_floor(day::timestamp at time zone 'utc');
      stray_day := (millrace_uuid7_time(stray_id) at time zone 'utc')::date;
      exit when stray_day is distinct from day;
      until := day + 1;
    end if;
    day := until;
  end loop;
  select least(day + span, min((p.starts_at at time zone 'utc')::date), stray_day) into until
    from millrace_partition p
    where p.parent = millrace_add_partition.parent and p.first_id > millrace_uuid7_floor(day::timestamp at time zone 'utc');
  part := parent || '_p' || to_char(day, 'YYYYMMDD');
  execute format('create table %I (like %I including all)', part, parent);
  select conname as name, pg_get_constraintdef(oid) as definition into strict key
    from pg_constraint where conrelid = part::regclass and contype = 'p';
  execute format('alter table %I drop constraint %I', part, key.name);
  execute format('alter table %I add constraint %I %s', part, key.name, key.definition);
  execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, part,
    millrace_uuid7_floor(day::timestamp at time zone 'utc'), millrace_uuid7_floor(until::timestamp at time zone 'utc'));
  return part;
end $$;
