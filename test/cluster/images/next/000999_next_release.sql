-- Expands what is written most: the release before it has to go on with this.

alter table execution add column next_release text;
create table next_release (execution_id uuid primary key);
create function next_release_note() returns trigger language plpgsql security definer set search_path = public, pg_temp as $$
begin
  insert into next_release values (new.id) on conflict do nothing;
  return new;
end $$;
create trigger next_release_note after insert on execution for each row execute function next_release_note();
