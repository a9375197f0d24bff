#!/bin/sh
# certificates.sh FOLDER NAME HOST...: a certificate for a machine that is reached under these host
# names or IP addresses, and a CA for all machines if FOLDER has none yet. Run it in one safe place;
# each machine gets ca.pem, its NAME.pem and its NAME.key, and nobody gets ca.key.
set -eu
[ $# -ge 3 ] || { echo "usage: certificates.sh FOLDER NAME HOST..." >&2; exit 2; }
folder=$1 name=$2
shift 2
umask 077
mkdir -p "$folder"
cd "$folder"

if [ ! -e ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 \
        -subj "/CN=flwr-gossip CA" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout ca.key -out ca.pem
fi

names=
for host in "$@"; do
    case $host in
        *:*) kind=IP ;;
        *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
    esac
    names=$names${names:+,}$kind:$host
done

# A peer is server and client at once: it needs both uses.
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -subj "/CN=$name" \
    -keyout "$name.key" -out "$name.csr"
printf '%s\n' "subjectAltName=$names" "extendedKeyUsage=serverAuth,clientAuth" \
    "basicConstraints=CA:FALSE" > "$name.ext"
openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -sha256 \
    -extfile "$name.ext" -out "$name.pem"
rm "$name.csr" "$name.ext"
chmod 644 ca.pem "$name.pem"
