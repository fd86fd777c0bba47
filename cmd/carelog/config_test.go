package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/carelog/carelog/httpapi"
)

const goodSecret = "Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZmdoaWpr"

// variables makes an environment of variables, with a home directory.
func variables(pairs ...string) environment {
	vars := map[string]string{"HOME": "/home/ann"}
	for i := 0; i < len(pairs); i += 2 {
		vars[pairs[i]] = pairs[i+1]
	}
	return environment{vars: vars}
}

func TestConfigDefaults(t *testing.T) {
	c, warnings, err := loadConfig(variables(), nil)
	if err != nil || warnings != nil {
		t.Fatal(warnings, err)
	}
	want := Config{
		Addr: "127.0.0.1:8000", DataDir: "/home/ann/.local/share/carelog",
		AccessTokenLifetime: 5 * time.Minute, RefreshTokenLifetime: 24 * time.Hour, HashConcurrency: runtime.GOMAXPROCS(0),
		Throttle:       httpapi.Throttle{LoginAccount: 10, LoginAddress: 300, Register: 600},
		MaxConnections: 10_000, DatabaseConns: 16, StreamMaxAge: 72 * time.Hour, StreamMaxBytes: 32 << 20, StreamReplicas: 1,
		ProjectionWait: 5 * time.Second, ShutdownTimeout: 15 * time.Second,
		LogLevel: slog.LevelInfo, LogFormat: "text",
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if c, _, err := loadConfig(variables("NATS_URL", "nats://a:1"), nil); err != nil || c.StreamMaxBytes != 256<<20 {
		t.Errorf("a stream of %d bytes on a NATS server, %v", c.StreamMaxBytes, err)
	}
	if c, _, err := loadConfig(variables("XDG_DATA_HOME", "/xdg"), nil); err != nil || c.DataDir != "/xdg/carelog" {
		t.Errorf("data directory %q, %v", c.DataDir, err)
	}
}

// TestConfigEverySetting sets each one by its variable and looks for a change.
func TestConfigEverySetting(t *testing.T) {
	texts := map[string]string{
		"CARELOG_ADDR": "0.0.0.0:80", "CARELOG_DATA_DIR": "/data", "CARELOG_JWT_SECRET": goodSecret, "CARELOG_JWT_FALLBACK_SECRETS": goodSecret + ", " + goodSecret,
		"CARELOG_ACCESS_TOKEN_LIFETIME": "7m", "CARELOG_REFRESH_TOKEN_LIFETIME": "48h", "CARELOG_HASH_CONCURRENCY": "77",
		"DATABASE_URL": "postgres://u:p@h/d", "CARELOG_DB_MAX_CONNS": "5", "CARELOG_PG_BIN": "/pg", "NATS_URL": "nats://a:1,b:2",
		"CARELOG_STREAM_MAX_AGE": "1h", "CARELOG_STREAM_MAX_BYTES": "2GiB", "CARELOG_PROJECTION_WAIT": "1s",
		"CARELOG_SHUTDOWN_TIMEOUT": "3s", "CARELOG_CORS_ORIGINS": "https://a.example, http://b.example:8080",
		"CARELOG_METRICS_ADDR": "127.0.0.1:9464", "CARELOG_LOG_LEVEL": "debug", "CARELOG_LOG_FORMAT": "json",
		"CARELOG_THROTTLE_LOGIN_ACCOUNT": "0", "CARELOG_THROTTLE_LOGIN_ADDRESS": "7", "CARELOG_THROTTLE_REGISTER": "10000",
		"CARELOG_MAX_CONNECTIONS": "77", "CARELOG_STREAM_REPLICAS": "3",
		"CARELOG_NATS_LISTEN": "127.0.0.1:4222", "CARELOG_NATS_SUBSCRIBERS": "/subscribers", "CARELOG_NATS_PLAINTEXT": "true",
		"CARELOG_NATS_TLS_CERT": "/cert.pem", "CARELOG_NATS_TLS_KEY": "/key.pem", "CARELOG_TLS_CERT": "/cert.pem", "CARELOG_TLS_KEY": "/key.pem",
		"CARELOG_TRUSTED_PROXIES": "10.1.2.3/8, 192.0.2.7,2001:db8::1/32, ::1,",
	}
	initial, _, err := loadConfig(variables(), nil)
	if err != nil {
		t.Fatal(err)
	}
	together := map[string][]string{ // what a setting cannot be without
		"CARELOG_NATS_LISTEN": {"CARELOG_NATS_SUBSCRIBERS"}, "CARELOG_STREAM_REPLICAS": {"NATS_URL"},
		"CARELOG_NATS_TLS_CERT": {"CARELOG_NATS_TLS_KEY"}, "CARELOG_NATS_TLS_KEY": {"CARELOG_NATS_TLS_CERT"},
		"CARELOG_TLS_CERT": {"CARELOG_TLS_KEY"}, "CARELOG_TLS_KEY": {"CARELOG_TLS_CERT"},
	}
	for _, s := range settings {
		pairs := []string{s.name, texts[s.name], "SECRET_KEY", goodSecret}
		for _, name := range together[s.name] {
			pairs = append(pairs, name, texts[name])
		}
		changed, _, err := loadConfig(variables(pairs...), nil)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if s.name != "CARELOG_JWT_SECRET" {
			changed.JWTSecret = nil
		}
		if reflect.DeepEqual(changed, initial) {
			t.Errorf("%s changes nothing", s.name)
		}
	}
	delete(texts, "CARELOG_NATS_LISTEN") // not with NATS_URL
	c, _, err := loadConfig(environment{vars: texts}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"https://a.example", "http://b.example:8080"}; !slices.Equal(c.CORSOrigins, want) || c.StreamMaxBytes != 2<<30 {
		t.Errorf("origins %q, bytes %d", c.CORSOrigins, c.StreamMaxBytes)
	}
	if want := (httpapi.Throttle{LoginAccount: 0, LoginAddress: 7, Register: 10000}); c.Throttle != want {
		t.Errorf("throttles %+v", c.Throttle)
	}
	if got, want := fmt.Sprint(c.TrustedProxies), "[10.0.0.0/8 192.0.2.7/32 2001:db8::/32 ::1/128]"; got != want {
		t.Errorf("proxies %s", got)
	}
}

func TestConfigPrecedence(t *testing.T) {
	flag := map[string]string{"addr": "127.0.0.1:1"}
	variable := map[string]string{"CARELOG_ADDR": "127.0.0.1:2", "HOME": "/home/ann"}
	file := map[string]string{"CARELOG_ADDR": "127.0.0.1:3"}
	home := map[string]string{"HOME": "/home/ann"}
	for _, test := range []struct {
		env  environment
		want string
	}{
		{environment{flag, variable, file}, "127.0.0.1:1"},
		{environment{nil, variable, file}, "127.0.0.1:2"},
		{environment{nil, home, file}, "127.0.0.1:3"},
		{environment{nil, home, nil}, "127.0.0.1:8000"},
		{environment{nil, map[string]string{"CARELOG_ADDR": "", "HOME": "/home/ann"}, file}, "127.0.0.1:8000"},
	} {
		if c, _, err := loadConfig(test.env, nil); err != nil || c.Addr != test.want {
			t.Errorf("%+v: %q, %v", test.env, c.Addr, err)
		}
	}
}

func TestConfigAliases(t *testing.T) {
	for name, test := range map[string]struct {
		env    environment
		url    string
		secret string
	}{
		"all parts": {variables("SECRET_KEY", goodSecret, "DB_NAME", "care", "DB_USER", "ann", "DB_PASSWORD", "p@ss/w:rd?#%", "DB_HOST", "db", "DB_PORT", "5433"),
			"postgres://ann:p%40ss%2Fw%3Ard%3F%23%25@db:5433/care", goodSecret},
		"name alone":          {variables("SECRET_KEY", goodSecret, "DB_NAME", "care"), "postgres://localhost:5432/care", goodSecret},
		"a socket":            {variables("SECRET_KEY", goodSecret, "DB_NAME", "care", "DB_HOST", "/run/pg"), "postgres:///care?host=%2Frun%2Fpg&port=5432", goodSecret},
		"IPv6":                {variables("SECRET_KEY", goodSecret, "DB_NAME", "care", "DB_HOST", "::1"), "postgres://[::1]:5432/care", goodSecret},
		"Carelog's own first": {variables("SECRET_KEY", "django-insecure-x", "CARELOG_JWT_SECRET", goodSecret, "DB_NAME", "x", "DATABASE_URL", "postgres://h/own"), "postgres://h/own", goodSecret},
		"own name in the file, alias in the environment": {environment{vars: map[string]string{"HOME": "/h", "SECRET_KEY": "short"},
			dotenv: map[string]string{"CARELOG_JWT_SECRET": goodSecret}}, "", "short"},
	} {
		c, _, err := loadConfig(test.env, nil)
		if name == "own name in the file, alias in the environment" {
			test.secret = goodSecret
		}
		if err != nil || c.DatabaseURL != test.url || string(c.JWTSecret) != test.secret {
			t.Errorf("%s: %q, %v", name, c.DatabaseURL, err)
		}
	}
}

func TestConfigReportsEveryMistake(t *testing.T) {
	_, _, err := loadConfig(environment{
		flags: map[string]string{"hash-concurrency": "0"},
		vars: map[string]string{
			"CARELOG_ADDR": "8000", "CARELOG_JWT_SECRET": "twelve bytes", "CARELOG_ACCESS_TOKEN_LIFETIME": "5",
			"CARELOG_STREAM_MAX_AGE": "1s", "CARELOG_DB_MAX_CONNS": "many", "CARELOG_STREAM_MAX_BYTES": "1KiB",
			"CARELOG_CORS_ORIGINS": "*", "CARELOG_LOG_LEVEL": "loud", "CARELOG_LOG_FORMAT": "xml",
			"CARELOG_THROTTLE_LOGIN_ACCOUNT": "-1", "CARELOG_THROTTLE_LOGIN_ADDRESS": "10001", "CARELOG_THROTTLE_REGISTER": "off",
			"CARELOG_TRUSTED_PROXIES": "10.0.0.1, proxy.example.org",
			"CARELOG_NATS_LISTEN":     "4222", "CARELOG_NATS_SUBSCRIBERS": "~/subscribers", "CARELOG_NATS_PLAINTEXT": "yes",
			"CARELOG_STREAM_REPLICAS": "0", "CARELOG_NATS_TLS_KEY": "/key.pem",
			"CARELOG_DATA_DIR": "~/data", "DATABASE_URL": "mysql://x", "NATS_URL": "http://h",
		},
		dotenv: map[string]string{"CARELOG_PROJECTION_WAIT": "soon"},
	}, errors.New(".env, line 3: not of the form NAME=value"))
	problems, ok := errors.AsType[*configError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		".env, line 3:",
		"CARELOG_ADDR: \"8000\"",
		"CARELOG_JWT_SECRET: 12 bytes, needs at least 32: set it to the output of `openssl rand -base64 48`",
		"CARELOG_ACCESS_TOKEN_LIFETIME: \"5\" is not a duration",
		"CARELOG_STREAM_MAX_AGE: 1s is too short",
		"--hash-concurrency: \"0\"",
		"CARELOG_DB_MAX_CONNS: \"many\"",
		"CARELOG_STREAM_MAX_BYTES: \"1KiB\" is too small",
		"CARELOG_CORS_ORIGINS: \"*\"",
		"CARELOG_LOG_LEVEL:", "CARELOG_LOG_FORMAT:",
		"CARELOG_THROTTLE_LOGIN_ACCOUNT: \"-1\"", "CARELOG_THROTTLE_LOGIN_ADDRESS: \"10001\"", "CARELOG_THROTTLE_REGISTER: \"off\"",
		"CARELOG_TRUSTED_PROXIES: \"proxy.example.org\"",
		"CARELOG_DATA_DIR: \"~/data\"",
		"DATABASE_URL: not a PostgreSQL URL",
		"NATS_URL: not a NATS URL",
		"CARELOG_NATS_LISTEN: \"4222\"",
		"CARELOG_NATS_LISTEN: there is no NATS server inside the process with NATS_URL",
		"CARELOG_NATS_SUBSCRIBERS: \"~/subscribers\"",
		"CARELOG_NATS_PLAINTEXT: \"yes\"",
		"CARELOG_STREAM_REPLICAS: \"0\"",
		"CARELOG_NATS_TLS_CERT: a certificate and its key go together",
		"CARELOG_PROJECTION_WAIT in .env: \"soon\"",
	} {
		has := func(problem string) bool { return strings.HasPrefix(problem, want) }
		if !slices.ContainsFunc(problems.problems, has) {
			t.Errorf("%q is not reported", want)
		}
	}
	for _, problem := range problems.problems {
		if strings.Contains(problem, "go together: set ") || strings.Contains(problem, "unset one of them") {
			continue
		}
		if problem != ".env, line 3: not of the form NAME=value" && !strings.Contains(problem, "set it to ") && !strings.Contains(problem, "name each") {
			t.Errorf("no mend: %s", problem)
		}
	}
}

func TestConfigRefusesSecrets(t *testing.T) {
	for name, test := range map[string]struct {
		env  environment
		want string
	}{
		"none with a database":  {variables("DATABASE_URL", "postgres://h/d"), "CARELOG_JWT_SECRET: not set"},
		"none with parts":       {variables("DB_NAME", "d"), "CARELOG_JWT_SECRET: not set"},
		"none with wrong parts": {variables("DB_USER", "d"), "CARELOG_JWT_SECRET: not set"},
		"short":                 {variables("SECRET_KEY", goodSecret[:31]), "SECRET_KEY: 31 bytes"},
		"Django's":              {variables("SECRET_KEY", "django-insecure-"+goodSecret), "SECRET_KEY: a well-known default key"},
		"jwt.io's":              {variables("CARELOG_JWT_SECRET", "a-string-secret-at-least-256-bits-long"), "CARELOG_JWT_SECRET: a well-known"},
		"one letter":            {variables("CARELOG_JWT_SECRET", strings.Repeat("a", 64)), "CARELOG_JWT_SECRET: repeats"},
		"no home":               {environment{}, "CARELOG_DATA_DIR: not set"},
		"refresh below access":  {variables("CARELOG_ACCESS_TOKEN_LIFETIME", "48h"), "CARELOG_REFRESH_TOKEN_LIFETIME: 24h0m0s, shorter"},
		"parts without a name":  {variables("DB_HOST", "db", "SECRET_KEY", goodSecret), "DB_NAME: not set, but DB_HOST"},
		"a part that is wrong":  {variables("DB_NAME", "d", "DB_PORT", "pg", "SECRET_KEY", goodSecret), "DB_PORT: \"pg\""},
	} {
		_, _, err := loadConfig(test.env, nil)
		if err == nil || !strings.Contains(err.Error(), "\n  "+test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConfigFallbackSecrets: a key that signed with a newline at its end is known as one
// with and without, since nobody can tell whether that is of the list.
func TestConfigFallbackSecrets(t *testing.T) {
	other := strings.ToUpper(goodSecret)
	c, _, err := loadConfig(variables("CARELOG_JWT_FALLBACK_SECRETS", goodSecret+"\n, "+other), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{goodSecret, goodSecret + "\n", other} {
		if !slices.ContainsFunc(c.JWTFallbacks, func(known []byte) bool { return string(known) == key }) {
			t.Errorf("%q is not among %q", key, c.JWTFallbacks)
		}
	}
	for text, want := range map[string]string{goodSecret + ",short": "key 2 of those", goodSecret + " ,": "key 2 of those", "a, " + goodSecret: "key 1 of those"} {
		if _, _, err := loadConfig(variables("CARELOG_JWT_FALLBACK_SECRETS", text), nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), goodSecret) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestConfigRefusesProxies(t *testing.T) {
	for text, want := range map[string]string{
		"proxy": "neither an address", "10.0.0.0/33": "neither an address", "10.0.0.1:80": "neither an address",
		"[::1]": "neither an address", "fe80::1%eth0": "neither an address", "::ffff:10.0.0.1": "neither an address",
		"::ffff:10.0.0.0/104": "neither an address", "*": "neither an address",
		"0.0.0.0/0": "trusts everybody", "::1, ::/0": "trusts everybody",
	} {
		_, _, err := loadConfig(variables("CARELOG_TRUSTED_PROXIES", text), nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "name each") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestConfigErrorsHideSecrets puts a secret wherever one can be and looks for it in the
// error.
func TestConfigErrorsHideSecrets(t *testing.T) {
	const secret = "hunter2secret"
	for _, env := range []environment{
		variables("CARELOG_JWT_SECRET", secret),
		variables("CARELOG_JWT_FALLBACK_SECRETS", secret),
		variables("DATABASE_URL", "postgres://ann:"+secret+"@h:notaport/d"),
		variables("DATABASE_URL", "postgres://ann:"+secret+"#x@h/d"),
		variables("DATABASE_URL", "postgres://ann:"+secret+"@h/d?sslmode="+secret),
		variables("DATABASE_URL", "postgres://ann@h/d?password="+secret+"&sslmode=wrong"),
		variables("DATABASE_URL", "postgres://ann:%zz"+secret+"@h/d"),
		variables("DATABASE_URL", "host=h password="+secret+" port=x"),
		variables("DATABASE_URL", "ann:"+secret+"@h/d"),
		variables("NATS_URL", "nats://ann:"+secret+"@h:notaport"),
		variables("NATS_URL", "nats://ann:"+secret+"@"),
		variables("DB_NAME", "d", "DB_PASSWORD", secret, "DB_HOST", "h h"),
	} {
		_, _, err := loadConfig(env, nil)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("got %v", err)
		}
	}
}

func TestConfigWarnsOfUnknownNames(t *testing.T) {
	env := variables("CARELOG_JWT_SECRETS", "x", "CARELOG_TEST_DATABASE_URL", "x", "UNRELATED", "x")
	env.dotenv = map[string]string{"CARELOG_ADRR": "x"}
	_, warnings, err := loadConfig(env, nil)
	want := []string{
		"CARELOG_ADRR is no setting and was ignored; the nearest is CARELOG_ADDR",
		"CARELOG_JWT_SECRETS is no setting and was ignored; the nearest is CARELOG_JWT_SECRET",
	}
	if err != nil || !slices.Equal(warnings, want) {
		t.Errorf("%q, %v", warnings, err)
	}
}

func TestEnvironmentIsRead(t *testing.T) {
	dir := t.TempDir()
	content := "\xef\xbb\xbf# a comment\nexport CARELOG_ADDR=127.0.0.1:3\nSECRET_KEY='a b#$c'\nEMPTY=\n"
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CARELOG_LOG_LEVEL", "warn")
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	addSettings(flags)
	if err := flags.Parse([]string{"--log-format", "json", "--data-dir="}); err != nil {
		t.Fatal(err)
	}
	env, err := readEnvironment(flags, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ flag, name, text, source string }{
		{"addr", "CARELOG_ADDR", "127.0.0.1:3", "CARELOG_ADDR in .env"},
		{"", "SECRET_KEY", "a b#$c", "SECRET_KEY in .env"},
		{"log-level", "CARELOG_LOG_LEVEL", "warn", "CARELOG_LOG_LEVEL"},
		{"log-format", "CARELOG_LOG_FORMAT", "json", "--log-format"},
	} {
		if v, ok := env.lookup(test.flag, test.name, ""); !ok || v != (value{test.text, test.source}) {
			t.Errorf("%s: %+v", test.name, v)
		}
	}
	if v, ok := env.lookup("data-dir", "HOME", ""); ok {
		t.Errorf("a flag that is set to nothing means the default, got %+v", v)
	}
}

func TestDotenvValuesAreTakenAsTheyStand(t *testing.T) {
	for line, want := range map[string]string{
		`A=k$5abc$_x%def#g$(z`:           `k$5abc$_x%def#g$(z`,
		`A=postgres://u:pa$W0RD@h/x`:     `postgres://u:pa$W0RD@h/x`,
		`export A = spaced out # why`:    `spaced out`,
		`A=`:                             ``,
		`A= # nothing`:                   ``,
		`A='a "b" # $c \n'`:              `a "b" # $c \n`,
		`A="a 'b' # \"c\" \\" # comment`: `a 'b' # "c" \`,
		`A=it's`:                         `it's`,
	} {
		path := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(path, []byte("# first\n"+line+"\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if vars, err := readDotenv(path); err != nil || vars["A"] != want {
			t.Errorf("%s: %q, %v", line, vars["A"], err)
		}
	}
}

func TestDotenvErrorsNameTheLine(t *testing.T) {
	for content, want := range map[string]string{
		"A=1\nsecret words\nB=2\n":       "line 2",
		"A=1\n\n# c\nB='unended\nC=1\n":  "line 4",
		"B=1\nA=\"two\nlines\"\n":        "line 2",
		"no equals sign":                 "line 1",
		"A=1\r\nB=2\r\nwhat is this\r\n": "line 3",
	} {
		path := filepath.Join(t.TempDir(), ".env")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readDotenv(path)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "words") {
			t.Errorf("%q: %v", content, err)
		}
	}
	if vars, err := readDotenv(filepath.Join(t.TempDir(), ".env")); err != nil || len(vars) != 0 {
		t.Errorf("without a file: %v, %v", vars, err)
	}
}
