#!/bin/sh
# Writes the files of Swagger UI in this directory anew, from the npm registry. To take
# another version, change these two lines: `npm view swagger-ui-dist@VERSION dist.integrity`.
set -eu
version=5.35.0
integrity=sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==

here=$(cd "$(dirname "$0")" && pwd)
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cd "$temporary"
npm pack --silent "swagger-ui-dist@$version" >/dev/null
got=sha512-$(openssl dgst -sha512 -binary "swagger-ui-dist-$version.tgz" | openssl base64 -A)
[ "$got" = "$integrity" ] || { echo "swagger-ui-dist $version has integrity $got, and not $integrity" >&2; exit 1; }
tar -xzf "swagger-ui-dist-$version.tgz"
cd package
for file in swagger-ui-bundle.js swagger-ui.css; do
	gzip -9 -n -c "$file" >"$here/$file.gz"
done
cp swagger-ui-bundle.js.LICENSE.txt "$here/"
cat NOTICE LICENSE >"$here/swagger-ui.LICENSE.txt"
sha256sum swagger-ui-bundle.js swagger-ui.css >"$here/swagger-ui.sha256" # as npm has them; a test checks what is embedded
