#!/bin/sh
# Installs PostgreSQL's server programs, when run by root on a system whose
# package manager is known. Otherwise it prints the command to run, and fails.
#
# Carelog starts a PostgreSQL of its own, so no database of the system's is made
# and no service is started.
set -eu

say() { echo "install-postgres: $*" >&2; }

if [ "$(uname)" = Darwin ]; then
	say "PostgreSQL is missing. Run: brew install postgresql@17"
	exit 1
fi

for manager in apt-get dnf apk zypper pacman none; do
	if command -v "$manager" >/dev/null 2>&1; then break; fi
done

if [ "$(id -u)" != 0 ]; then
	case $manager in
	none) say "PostgreSQL is missing. Install version 14 or newer, or set CARELOG_PG_BIN to the directory of its programs" ;;
	*) say "PostgreSQL is missing. Run: sudo $0" ;;
	esac
	exit 1
fi

say "installing PostgreSQL with $manager"
case $manager in
apt-get)
	export DEBIAN_FRONTEND=noninteractive
	apt-get update
	if ! dpkg -s postgresql-common >/dev/null 2>&1; then
		apt-get install -y --no-install-recommends postgresql-common
		# else Debian makes a database of the system's and starts it
		sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
	fi
	apt-get install -y --no-install-recommends postgresql
	;;
dnf)
	dnf module enable -y postgresql:16 >/dev/null 2>&1 || true # RHEL 9 would install 13
	dnf install -y postgresql-server
	;;
apk) apk add --no-cache postgresql ;;
zypper) zypper --non-interactive install postgresql-server ;;
pacman) pacman -Sy --noconfirm --needed postgresql ;;
none)
	say "no package manager is known here. Install PostgreSQL 14 or newer, or set CARELOG_PG_BIN to the directory of its programs"
	exit 1
	;;
esac
