# As in their own image: who may connect is the network's affair.
set -e
chown -R valkey: /data
exec setpriv --reuid=valkey --regid=valkey --init-groups "$@" --protected-mode no
