-- How many sandboxes this worker's workflows took in the last minute, which is what pools of waiting ones are sized by.
alter table worker
  add column javascript_claims int not null default 0,
  add column python_claims int not null default 0;
