#!/bin/sh
# Puts a backup of DIRECTORY, the newest one or BACKUP, in the place of the database of DATABASE_URL_FILE. Nobody may be
# connected to it. What was there stays, as <database>_before, until the next time; a restore that fails changes nothing.
set -eu

fail() {
  echo "$*" >&2
  exit 1
}
backup=${BACKUP:-$(cd "$DIRECTORY" && ls -d 2* 2>/dev/null | sort | tail -n 1)}
[ -n "$backup" ] || fail "there is no backup in $DIRECTORY"
[ -f "$DIRECTORY/$backup/millrace.dump" ] || fail "there is no backup $backup; there are: $(cd "$DIRECTORY" && ls -d 2* 2>/dev/null | tr '\n' ' ')"

url=$(cat "$DATABASE_URL_FILE")
query=
case $url in *\?*) query="?${url#*\?}" ;; esac
url=${url%%\?*}
server=${url%/*}
database=${url##*/}
case $database in '' | *[!a-z0-9_]*) fail "DATABASE_URL names the database \"$database\"; it may have small letters, digits and _ alone" ;; esac

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="$server/postgres$query" "$@"; }
nobody_is_connected() {
  others=$(sql --command="select count(*) from pg_stat_activity where datname = '$database' and backend_type = 'client backend'")
  [ "$others" -eq 0 ] || fail "$others connection(s) to $database are open: scale the API and the workers to 0 first"
}

nobody_is_connected
# Those that are there already stay as they are.
psql --no-psqlrc --quiet --dbname="$server/postgres$query" --file="$DIRECTORY/$backup/roles.sql" 2>&1 |
  grep -v 'already exists' >&2 || true
sql --command="drop database if exists ${database}_restored" --command="create database ${database}_restored"
pg_restore --dbname="$server/${database}_restored$query" --exit-on-error "$DIRECTORY/$backup/millrace.dump"
nobody_is_connected
sql --command="drop database if exists ${database}_before"
sql --single-transaction \
  --command="alter database $database rename to ${database}_before" \
  --command="alter database ${database}_restored rename to $database"
echo "restored $backup; what was there before is the database ${database}_before"
