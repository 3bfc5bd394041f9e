#!/bin/sh
# tls.sh FOLDER: makes a certificate and its key, for 30 days, and Dask's configuration that uses them. Every scheduler,
# worker and `grade` that is started with DASK_CONFIG=FOLDER proves with that key that it belongs to the others and takes
# no connection from anybody who cannot. FOLDER has to be readable on all machines, and by you alone: whoever can read
# the key can run code as you.
set -eu
command -v openssl >/dev/null || { echo "tls.sh needs openssl, which is not installed here." >&2 && exit 1; }
umask 077
mkdir "$1"
folder=$(cd "$1" && pwd)
openssl req -x509 -newkey rsa:3072 -nodes -days 30 -subj /CN=alphabar -keyout "$folder/key.pem" -out "$folder/cert.pem" \
  2>/dev/null
cat >"$folder/dask.yaml" <<END
distributed:
  comm:
    default-scheme: tls
    require-encryption: true
    tls:
      ca-file: "$folder/cert.pem"
      scheduler: &own {cert: "$folder/cert.pem", key: "$folder/key.pem"}
      worker: *own
      client: *own
  scheduler:
    worker-ttl: 30s # a worker that is silent for so long is given up
    allowed-failures: 20 # Dask counts what waited at a lost worker too
    http: {routes: []} # these pages ask nobody for a key
  worker:
    http: {routes: []}
logging:
  distributed: warning
END
