-- What one process at a time does for all, and which workers there are.

-- A lease on a duty: whoever holds it does it until `until`, by this database's clock. What it found is for all to read.
create table duty (
  name    text primary key,
  holder  uuid not null,
  until   timestamptz not null,
  result  json,
  done_at timestamptz
);

-- A row for each worker, written anew every few seconds; a worker that stops takes its row away.
create table worker (
  id      uuid primary key,
  seen_at timestamptz not null default now()
) with (fillfactor = 50); -- so that an update finds room beside the row

do $$
declare t text;
begin
  foreach t in array array['duty', 'worker'] loop
    execute format('alter table %I enable row level security', t);
    execute format('alter table %I force row level security', t);
    execute format('create policy engine on %I to millrace_engine using (true) with check (true)', t);
    execute format('create policy ingest on %I to millrace_ingest using (true) with check (true)', t);
  end loop;
end $$;
grant select, insert, update, delete on duty, worker to millrace_engine;
-- Without a worker the API measures the queue, and says that there is none.
grant select, insert, update, delete on duty to millrace_ingest;
grant select on worker to millrace_ingest;
