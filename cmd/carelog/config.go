package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/carelog/carelog/httpapi"
)

// maxThrottle is the largest limit of a throttle, which remembers that many
// attempts for every address.
const maxThrottle = 10_000

// Config is everything that can be set about the server.
type Config struct {
	Addr    string // 127.0.0.1:8000; port 0 lets the kernel choose
	TLSCert string // none: no TLS
	TLSKey  string // of that certificate
	DataDir string // $XDG_DATA_HOME/carelog, else ~/.local/share/carelog; absolute

	JWTSecret            []byte        // none: made in DataDir (jwtKeys); required with DatabaseURL
	JWTFallbacks         [][]byte      // none: only tokens that JWTSecret signed are good
	AccessTokenLifetime  time.Duration // 5m
	RefreshTokenLifetime time.Duration // 24h
	HashConcurrency      int           // the number of CPUs; each hash takes 19 MiB

	MaxConnections int              // 10,000; fewer where the system does not let so many files be open
	Throttle       httpapi.Throttle // 10, 300 and 600 a minute; 0 is off
	TrustedProxies []netip.Prefix   // none: X-Forwarded-For is not looked at

	DatabaseURL   string // none: a private PostgreSQL in DataDir
	DatabaseConns int    // 16; the appender and the runner have their own beside them
	PostgresBin   string // none: looked for (findPostgres)

	NATSURL         string // none: a server inside the process
	NATSListen      string // none: that server has no address
	NATSSubscribers string // the file that says who may connect there (readSubscribers)
	NATSCert        string // none: no TLS
	NATSKey         string // of that certificate
	NATSPlaintext   bool   // no TLS on an address that others can reach

	StreamMaxAge   time.Duration // 72h
	StreamReplicas int           // 1; more in a NATS cluster
	StreamMaxBytes int64         // 256 MiB; 32 MiB inside the process, which holds what it stored in the last 10 seconds in memory

	ProjectionWait  time.Duration // 5s; a write whose rows are not visible by then answers "pending"
	ShutdownTimeout time.Duration // 15s; for draining what was accepted
	CORSOrigins     []string      // none: no cross-origin requests

	MetricsAddr string // none: on Addr

	LogLevel  slog.Level // info
	LogFormat string     // text; or json

	Traces bool // false; OpenTelemetry's own variables ask for them, and its SDK reads those
}

// setting is how one field of the Config is set.
type setting struct {
	name    string // of the environment variable
	flag    string // "" for what may hold a secret: other users can see a program's flags
	alias   string // another variable that is understood, if name is not set
	initial string // the default; "" leaves the field as it is
	usage   string
	set     func(*Config, string) error
}

var settings = []setting{
	{name: "CARELOG_ADDR", flag: "addr", initial: "127.0.0.1:8000",
		usage: "`host:port` to serve on; port 0 lets the kernel choose",
		set:   func(c *Config, s string) error { c.Addr = s; return checkAddr(s) }},
	{name: "CARELOG_TLS_CERT", flag: "tls-cert",
		usage: "`file` of the certificate to serve HTTPS with, PEM, with those it is signed by; a renewed one is taken without a restart",
		set:   func(c *Config, s string) error { return setDir(&c.TLSCert, s) }},
	{name: "CARELOG_TLS_KEY", flag: "tls-key",
		usage: "`file` of its key, PEM",
		set:   func(c *Config, s string) error { return setDir(&c.TLSKey, s) }},
	{name: "CARELOG_DATA_DIR", flag: "data-dir",
		usage: "`directory` of the private PostgreSQL, the NATS store and the made JWT key (default $XDG_DATA_HOME/carelog or ~/.local/share/carelog)",
		set:   func(c *Config, s string) error { return setDir(&c.DataDir, s) }},
	{name: "CARELOG_JWT_SECRET", alias: "SECRET_KEY",
		usage: "key that signs tokens, at least 32 bytes; required with DATABASE_URL, else made in the data directory",
		set:   func(c *Config, s string) error { c.JWTSecret = []byte(s); return checkSecret(s) }},
	{name: "CARELOG_JWT_FALLBACK_SECRETS",
		usage: "other keys whose tokens are good as well while keys are rotated, comma separated (default none)",
		set:   func(c *Config, s string) (err error) { c.JWTFallbacks, err = parseSecrets(s); return err }},
	{name: "CARELOG_ACCESS_TOKEN_LIFETIME", flag: "access-token-lifetime", initial: "5m",
		usage: "`duration` that an access token is valid",
		set:   func(c *Config, s string) error { return setDuration(&c.AccessTokenLifetime, s, time.Second) }},
	{name: "CARELOG_REFRESH_TOKEN_LIFETIME", flag: "refresh-token-lifetime", initial: "24h",
		usage: "`duration` that a refresh token is valid",
		set:   func(c *Config, s string) error { return setDuration(&c.RefreshTokenLifetime, s, time.Second) }},
	{name: "CARELOG_HASH_CONCURRENCY", flag: "hash-concurrency", initial: strconv.Itoa(runtime.GOMAXPROCS(0)),
		usage: "`number` of passwords hashed at the same time; each takes a CPU and 19 MiB",
		set:   func(c *Config, s string) error { return setInt(&c.HashConcurrency, s, 1, 1024) }},
	{name: "CARELOG_THROTTLE_LOGIN_ACCOUNT", flag: "throttle-login-account", initial: "10",
		usage: "`number` of failed logins a minute of one account from one address; 0 is off",
		set:   func(c *Config, s string) error { return setInt(&c.Throttle.LoginAccount, s, 0, maxThrottle) }},
	{name: "CARELOG_THROTTLE_LOGIN_ADDRESS", flag: "throttle-login-address", initial: "300",
		usage: "`number` of failed logins a minute from one address; 0 is off",
		set:   func(c *Config, s string) error { return setInt(&c.Throttle.LoginAddress, s, 0, maxThrottle) }},
	{name: "CARELOG_THROTTLE_REGISTER", flag: "throttle-register", initial: "600",
		usage: "`number` of attempts a minute to register from one address; 0 is off",
		set:   func(c *Config, s string) error { return setInt(&c.Throttle.Register, s, 0, maxThrottle) }},
	{name: "CARELOG_TRUSTED_PROXIES", flag: "trusted-proxies",
		usage: "`addresses` of proxies whose X-Forwarded-For tells where a request comes from, as 10.0.0.5 or 10.0.0.0/8, comma separated (default none)",
		set:   func(c *Config, s string) (err error) { c.TrustedProxies, err = parseProxies(s); return err }},
	{name: "CARELOG_MAX_CONNECTIONS", flag: "max-connections", initial: "10000",
		usage: "`number` of connections of clients; each takes 25 KiB while it is idle",
		set:   func(c *Config, s string) error { return setInt(&c.MaxConnections, s, 1, 1_000_000) }},
	{name: "DATABASE_URL",
		usage: "PostgreSQL to use, as postgres://user:password@host:5432/name, instead of a private one; DB_NAME, DB_USER, DB_PASSWORD, DB_HOST and DB_PORT are understood too",
		set:   func(c *Config, s string) error { c.DatabaseURL = s; return checkDatabaseURL(s) }},
	{name: "CARELOG_DB_MAX_CONNS", flag: "db-max-conns", initial: "16",
		usage: "`number` of database connections for requests",
		set:   func(c *Config, s string) error { return setInt(&c.DatabaseConns, s, 1, 10000) }},
	{name: "CARELOG_PG_BIN", flag: "pg-bin", alias: "PG_BIN",
		usage: "`directory` of the programs postgres and initdb (default: looked for)",
		set:   func(c *Config, s string) error { return setDir(&c.PostgresBin, s) }},
	{name: "NATS_URL",
		usage: "NATS servers to use, as nats://user:password@host:4222, comma separated, instead of one inside the process",
		set:   func(c *Config, s string) error { c.NATSURL = s; return checkNATSURL(s) }},
	{name: "CARELOG_NATS_LISTEN", flag: "nats-listen",
		usage: "`host:port` at which subscribers reach the NATS server inside the process (default none)",
		set:   func(c *Config, s string) error { c.NATSListen = s; return checkAddr(s) }},
	{name: "CARELOG_NATS_SUBSCRIBERS", flag: "nats-subscribers",
		usage: "`file` that says who these are: see carelog subscribers",
		set:   func(c *Config, s string) error { return setDir(&c.NATSSubscribers, s) }},
	{name: "CARELOG_NATS_TLS_CERT", flag: "nats-tls-cert",
		usage: "`file` of the certificate that subscribers are shown, PEM; a renewed one is taken without a restart",
		set:   func(c *Config, s string) error { return setDir(&c.NATSCert, s) }},
	{name: "CARELOG_NATS_TLS_KEY", flag: "nats-tls-key",
		usage: "`file` of its key, PEM",
		set:   func(c *Config, s string) error { return setDir(&c.NATSKey, s) }},
	{name: "CARELOG_NATS_PLAINTEXT", flag: "nats-plaintext",
		usage: "`true` lets subscribers connect without TLS over a network (default false)",
		set:   func(c *Config, s string) error { return setBool(&c.NATSPlaintext, s) }},
	{name: "CARELOG_STREAM_REPLICAS", flag: "stream-replicas", initial: "1",
		usage: "`number` of NATS servers of a cluster that keep the NATS stream: 1, 3 or 5",
		set:   func(c *Config, s string) error { return setReplicas(&c.StreamReplicas, s) }},
	{name: "CARELOG_STREAM_MAX_AGE", flag: "stream-max-age", initial: "72h",
		usage: "`duration` that events stay on the NATS stream; all of them stay in PostgreSQL",
		set:   func(c *Config, s string) error { return setDuration(&c.StreamMaxAge, s, time.Minute) }},
	{name: "CARELOG_STREAM_MAX_BYTES", flag: "stream-max-bytes",
		usage: "`size` that the NATS stream may have, in bytes or as 64MiB (default 256MiB, and 32MiB inside the process, where much of it is held in memory)",
		set:   func(c *Config, s string) error { return setBytes(&c.StreamMaxBytes, s, 1<<20) }},
	{name: "CARELOG_PROJECTION_WAIT", flag: "projection-wait", initial: "5s",
		usage: "`duration` that the answer to a write waits for the read tables",
		set:   func(c *Config, s string) error { return setDuration(&c.ProjectionWait, s, time.Millisecond) }},
	{name: "CARELOG_SHUTDOWN_TIMEOUT", flag: "shutdown-timeout", initial: "15s",
		usage: "`duration` in which a stop finishes what was accepted",
		set:   func(c *Config, s string) error { return setDuration(&c.ShutdownTimeout, s, time.Millisecond) }},
	{name: "CARELOG_CORS_ORIGINS", flag: "cors-origins",
		usage: "`origins` whose pages may call the API, as https://app.example.org, comma separated (default none)",
		set:   func(c *Config, s string) (err error) { c.CORSOrigins, err = parseOrigins(s); return err }},
	{name: "CARELOG_METRICS_ADDR", flag: "metrics-addr",
		usage: "`host:port` to serve /metrics on, and nowhere else (default: with the API)",
		set:   func(c *Config, s string) error { c.MetricsAddr = s; return checkAddr(s) }},
	{name: "CARELOG_LOG_LEVEL", flag: "log-level", initial: "info",
		usage: "least `level` that is logged: debug, info, warn or error",
		set:   func(c *Config, s string) error { return setLevel(&c.LogLevel, s) }},
	{name: "CARELOG_LOG_FORMAT", flag: "log-format", initial: "text",
		usage: "`format` of the log: text or json",
		set:   func(c *Config, s string) error { return setOneOf(&c.LogFormat, s, "text", "json") }},
}

// configError holds every mistake there is, each with its mend.
type configError struct {
	problems []string
}

func (e *configError) Error() string {
	return "the configuration cannot be used:\n  " + strings.Join(e.problems, "\n  ")
}

// loadConfig makes the Config of what env holds. fileErr is readEnvironment's
// error and reported with the others. Warnings are about what was ignored.
// Neither holds the text of a secret.
func loadConfig(env environment, fileErr error) (c Config, warnings []string, err error) {
	return parseConfig(env, fileErr, true)
}

// loadOperatorConfig is loadConfig for a command that signs no tokens: it needs
// no key for them.
func loadOperatorConfig(env environment, fileErr error) (c Config, warnings []string, err error) {
	return parseConfig(env, fileErr, false)
}

// parseConfig answers with an error what could be read all the same; only `carelog
// doctor` looks at that.
func parseConfig(env environment, fileErr error, signs bool) (c Config, warnings []string, _ error) {
	var problems []string
	if fileErr != nil {
		problems = append(problems, fileErr.Error())
	}
	external := false // whether the database is somebody's, not a private one
	for _, s := range settings {
		v, ok := env.lookup(s.flag, s.name, s.alias)
		if s.name == "DATABASE_URL" {
			var err error
			if !ok {
				v, ok, err = env.databaseURL()
			}
			external = ok
			if err != nil {
				problems = append(problems, err.Error())
				continue
			}
		}
		if !ok {
			v = value{s.initial, s.name}
		}
		if v.text == "" {
			continue
		}
		if err := s.set(&c, v.text); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", v.source, err))
		}
	}
	if c.DataDir == "" {
		if c.DataDir = env.defaultDataDir(); c.DataDir == "" {
			problems = append(problems, "CARELOG_DATA_DIR: not set, and there is no home directory for a default: set it to a directory")
		}
	}
	if c.StreamMaxBytes == 0 {
		if c.StreamMaxBytes = 256 << 20; c.NATSURL == "" {
			c.StreamMaxBytes = 32 << 20
		}
	}
	problems = append(problems, c.checkKeyPairs()...)
	problems = append(problems, c.checkNATS()...)
	if signs && external && len(c.JWTSecret) == 0 {
		problems = append(problems, "CARELOG_JWT_SECRET: not set, and all processes on the database of DATABASE_URL need the same: "+secretMend)
	}
	if c.AccessTokenLifetime > c.RefreshTokenLifetime && c.RefreshTokenLifetime > 0 {
		problems = append(problems, fmt.Sprintf("CARELOG_REFRESH_TOKEN_LIFETIME: %v, shorter than the %v of an access token: set it to more",
			c.RefreshTokenLifetime, c.AccessTokenLifetime))
	}
	warnings = unknownNames(env)
	if signs { // the server
		var ignored, wrong []string
		c.Traces, ignored, wrong = env.traces()
		warnings, problems = append(warnings, ignored...), append(problems, wrong...)
	}
	if problems != nil {
		return c, warnings, &configError{problems}
	}
	return c, warnings, nil
}
