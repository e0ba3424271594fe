-- A line of a step's log that stands for others, which were left out because the log had grown too large.
alter table step_log add column truncated boolean not null default false;
