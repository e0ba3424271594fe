-- Of a failed attempt that is to be repeated and whose trace is recorded: what the next attempt's span is linked to.
alter table step_run add column traceparent text;
