#!/bin/sh
# clone.sh LIST FOLDER: clones each repository that LIST names into FOLDER, as data. A line is OWNER/NAME, and after it
# what the student is called in the roster, where that is not the repository's name. No file is checked out, no hook run.
# $TOKEN, where it is set, goes to git by its environment: no process shows it, and no clone keeps it.
# $GITHUB_SERVER_URL says where the repositories are.
set -eu
list=$1 folder=$2
mkdir -p "$folder"
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1
if [ -n "${TOKEN:-}" ]; then
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=http.extraHeader
  GIT_CONFIG_VALUE_0="Authorization: Basic $(printf 'x-access-token:%s' "$TOKEN" | base64 | tr -d '\n')"
  export GIT_CONFIG_VALUE_0
fi
while read -r name who || [ -n "$name" ]; do
  case $name in '' | '#'*) continue ;; esac
  case "$name $who" in
  *[!A-Za-z0-9._/\ -]* | -* | *' -'* | */' '* | *..* | *' '*/*)
    echo "not cloned: a line of $list is no OWNER/NAME" >&2
    continue
    ;;
  esac
  git clone --quiet --no-checkout -- "$GITHUB_SERVER_URL/$name" "$folder/${who:-${name##*/}}" </dev/null ||
    echo "not cloned: $name" >&2
done <"$list"
