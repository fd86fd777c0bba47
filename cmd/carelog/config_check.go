package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// secretMend is how to mend a key that will not do.
const secretMend = "set it to the output of `openssl rand -base64 48`"

// minSecretLength of a key for HS256, in bytes (RFC 7518, section 3.2).
const minSecretLength = 32

// knownSecrets are beginnings, in lower case, of keys that frameworks and
// tutorials ship: whoever reads those can sign tokens.
var knownSecrets = []string{
	"django-insecure-",
	"your-secret", "your_secret", "your-256-bit-secret", "your-super-secret",
	"a-string-secret-at-least-256-bits-long",
	"changeme", "change-me", "change_me", "change-this", "change_this",
}

// parseSecrets reads several keys. White space around one may be of the list, or of
// the key: CARELOG_JWT_SECRET is taken as it stands, and one that came out of a file
// may end with a newline. So both are known.
func parseSecrets(s string) (keys [][]byte, _ error) {
	number := 0
	for whole := range strings.SplitSeq(s, ",") {
		number++
		key := strings.TrimSpace(whole)
		if err := checkSecret(key); err != nil {
			return nil, fmt.Errorf("key %d of those separated by commas: %w", number, err)
		}
		keys = append(keys, []byte(key))
		if whole != key {
			keys = append(keys, []byte(whole))
		}
	}
	return keys, nil
}

// checkSecret refuses keys that can be guessed. It never quotes them.
func checkSecret(s string) error {
	lower := strings.ToLower(s)
	distinct := map[byte]bool{}
	for i := range len(s) {
		distinct[s[i]] = true
	}
	switch {
	case len(s) < minSecretLength:
		return fmt.Errorf("%d bytes, needs at least %d: %s", len(s), minSecretLength, secretMend)
	case slices.ContainsFunc(knownSecrets, func(known string) bool { return strings.HasPrefix(lower, known) }):
		return errors.New("a well-known default key, everybody can sign tokens with it: " + secretMend)
	case len(distinct) < 8:
		return errors.New("repeats a few characters, it can be guessed: " + secretMend)
	}
	return nil
}

func checkAddr(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not an address with a port: set it to one like 127.0.0.1:8000", s)
	}
	return nil
}

// checkDatabaseURL never quotes s: what cannot be parsed may have the password
// anywhere.
func checkDatabaseURL(s string) error {
	mend := "set it to postgres://user:password@host:5432/name, with special characters of the password percent-encoded"
	if _, err := pgx.ParseConfig(s); err != nil {
		if parsed, urlErr := url.Parse(s); urlErr == nil && strings.HasPrefix(parsed.Scheme, "postgres") {
			// The cause alone: the whole error quotes the URL.
			if cause := errors.Unwrap(err); cause != nil && !mentionsPassword(cause.Error(), parsed) {
				return fmt.Errorf("cannot be used (%v): %s", cause, mend)
			}
		}
		return errors.New("not a PostgreSQL URL: " + mend)
	}
	return nil
}

func mentionsPassword(text string, parsed *url.URL) bool {
	passwords := []string{parsed.Query().Get("password"), parsed.Query().Get("sslpassword")}
	if password, ok := parsed.User.Password(); ok {
		passwords = append(passwords, password)
	}
	return slices.ContainsFunc(passwords, func(password string) bool {
		return password != "" && strings.Contains(text, password)
	})
}

// checkNATSURL never quotes s either.
func checkNATSURL(s string) error {
	for server := range strings.SplitSeq(s, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		parsed, err := url.Parse(server)
		if err != nil || parsed.Hostname() == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, parsed.Scheme) {
			return errors.New("not a NATS URL: set it to nats://user:password@host:4222, or several separated by commas")
		}
	}
	return nil
}

func parseOrigins(s string) (origins []string, err error) {
	for origin := range strings.SplitSeq(s, ",") {
		origin = strings.TrimSpace(origin)
		if origin == "" {
			continue
		}
		parsed, err := url.Parse(origin)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" ||
			origin != parsed.Scheme+"://"+parsed.Host {
			return nil, fmt.Errorf("%q is not an origin: name each as https://app.example.org, without a path; * is not taken", origin)
		}
		origins = append(origins, origin)
	}
	return origins, nil
}

// parseProxies reads addresses and networks. IPv4 is compared as such, so it may
// not be written as IPv6.
func parseProxies(s string) (proxies []netip.Prefix, err error) {
	for text := range strings.SplitSeq(s, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		proxy, err := netip.ParsePrefix(text)
		if address, addrErr := netip.ParseAddr(text); addrErr == nil && address.Zone() == "" {
			proxy, err = address.Prefix(address.BitLen())
		}
		switch {
		case err != nil || proxy.Addr().Is4In6():
			return nil, fmt.Errorf("%q is neither an address nor a network: name each as 10.0.0.5, 10.0.0.0/8, 2001:db8::5 or 2001:db8::/32", text)
		case proxy.Bits() == 0:
			return nil, fmt.Errorf("%q trusts everybody, and anybody could claim any address: name each proxy, as 10.0.0.5, or their network, as 10.0.0.0/8", text)
		}
		proxies = append(proxies, proxy.Masked())
	}
	return proxies, nil
}

func setDir(target *string, s string) (err error) {
	if strings.HasPrefix(s, "~") {
		return fmt.Errorf("%q: ~ is not understood here: set it to the whole path", s)
	}
	*target, err = filepath.Abs(s)
	return err
}

func setDuration(target *time.Duration, s string, least time.Duration) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration: set it to one like 90s, 5m or 24h", s)
	}
	if d < least {
		return fmt.Errorf("%v is too short: set it to %v or more", d, least)
	}
	*target = d
	return nil
}

func setInt(target *int, s string, least, most int) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return fmt.Errorf("%q is not a number from %d to %d: set it to one", s, least, most)
	}
	*target = n
	return nil
}

// setReplicas takes odd numbers, of which a majority is more than half.
func setReplicas(target *int, s string) error {
	var chosen string
	if err := setOneOf(&chosen, s, "1", "3", "5"); err != nil {
		return err
	}
	return setInt(target, chosen, 1, 5)
}

func setBool(target *bool, s string) error {
	if s != "true" && s != "false" {
		return fmt.Errorf("%q is neither: set it to true or false", s)
	}
	*target = s == "true"
	return nil
}

func setBytes(target *int64, s string, least int64) error {
	digits, shift := s, 0
	for unit, by := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40} {
		if before, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = strings.TrimSpace(before), by
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return fmt.Errorf("%q is not a size: set it to bytes, or to one like 256MiB", s)
	}
	if n <<= shift; n < least {
		return fmt.Errorf("%q is too small: set it to %d bytes or more", s, least)
	}
	*target = n
	return nil
}

func setLevel(target *slog.Level, s string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(s)) {
		return fmt.Errorf("%q is not a level: set it to debug, info, warn or error", s)
	}
	return target.UnmarshalText([]byte(s))
}

func setOneOf(target *string, s string, choices ...string) error {
	if !slices.Contains(choices, s) {
		return fmt.Errorf("%q is none of its values: set it to %s", s, strings.Join(choices, " or "))
	}
	*target = s
	return nil
}
