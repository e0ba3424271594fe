-- Whether sandboxes of the tenant are shared by executions; null: as its steps say.
alter table tenant add column isolation text check (isolation = 'execution');
