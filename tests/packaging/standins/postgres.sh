# A new folder is made with the user, password and database that the environment names.
set -e
data=/var/lib/postgresql/data
account="setpriv --reuid=postgres --regid=postgres --init-groups"
mkdir -p "$data" /run/postgresql
chown postgres: "$data" /run/postgresql
if [ ! -s "$data/PG_VERSION" ]; then
    secret=$(mktemp)
    printf %s "$POSTGRES_PASSWORD" > "$secret"
    chown postgres: "$secret"
    $account initdb --pgdata="$data" --username="$POSTGRES_USER" --pwfile="$secret" \
        --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256
    rm "$secret"
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    $account pg_ctl --pgdata="$data" --wait --options="-c listen_addresses=''" start
    [ "$POSTGRES_DB" = postgres ] || $account createdb --username="$POSTGRES_USER" "$POSTGRES_DB"
    $account pg_ctl --pgdata="$data" --wait stop
fi
exec $account "$@" -D "$data" -c listen_addresses='*'
