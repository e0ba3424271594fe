#!/bin/sh
# Takes a dump of the database of DATABASE_URL_FILE, and of the roles that it needs, into a folder of DIRECTORY named by the
# time, and keeps the newest KEEP of them.
set -eu

url=$(cat "$DATABASE_URL_FILE")
name=$(date -u +%Y%m%dT%H%M%SZ)
# What was cut off is no backup.
rm -rf "$DIRECTORY/unfinished"
mkdir "$DIRECTORY/unfinished"
cd "$DIRECTORY/unfinished"
pg_dumpall --dbname="$url" --roles-only --no-role-passwords >roles.sql
pg_dump --dbname="$url" --format=custom --file=millrace.dump
# A dump whose contents cannot be listed is none.
pg_restore --list millrace.dump >/dev/null
sync
mv "$DIRECTORY/unfinished" "$DIRECTORY/$name"
echo "backup $name: $(du -sh "$DIRECTORY/$name" | cut -f 1)"

cd "$DIRECTORY"
ls -d 2* | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do
  rm -rf "$old"
  echo "removed $old"
done
